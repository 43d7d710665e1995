#include "resample.h"

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "kernel.h"
#include "row_filter.h"

// The inner loops are integer only, so every instruction set gives the same bits. Sanitizers do not get along
// with functions chosen at load time.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define FLOODGATE_BEST_SIMD __attribute__((target_clones("default", "sse4.1", "avx2", "arch=skylake-avx512")))
#else
#define FLOODGATE_BEST_SIMD
#endif

namespace floodgate {
namespace {

constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);

inline std::uint8_t to_byte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

// One output row from `count` input rows of `bytes` samples each.
FLOODGATE_BEST_SIMD
void filter_column(const std::uint8_t* const* rows, const std::int32_t* weights, std::int32_t count,
                   std::int32_t bytes, std::int32_t* sums, std::uint8_t* out) {
  std::fill(sums, sums + bytes, kHalf);
  for (std::int32_t i = 0; i < count; ++i) {
    const std::uint8_t* row = rows[i];
    const std::int32_t weight = weights[i];
    for (std::int32_t x = 0; x < bytes; ++x) sums[x] += row[x] * weight;
  }
  for (std::int32_t x = 0; x < bytes; ++x) out[x] = to_byte(sums[x]);
}

// Grows to what its thread needs and stays, up to a bound that ordinary views never reach.
struct Scratch {
  static constexpr std::size_t kKeptBytes = 16U << 20;

  void release_excess() {
    if (ring.capacity() + out.capacity() > kKeptBytes) *this = Scratch();
  }

  std::vector<std::uint8_t> ring;
  std::vector<std::uint8_t> out;
  std::vector<std::uint8_t> narrow;
  std::vector<std::int32_t> sums;
  std::vector<const std::uint8_t*> rows;
};

// What one call works on. A null pass: that side does not change.
struct Work {
  const Picture& picture;
  const Placement& placement;
  const RowFilter* horizontal;
  const Kernel* vertical;
  RowSink& sink;
  Scratch& scratch;
};

std::span<const std::uint8_t> whole_row(const Picture& picture, std::int32_t y) {
  const std::size_t bytes = std::size_t{3} * picture.width;
  return {picture.rgb.get() + bytes * static_cast<std::size_t>(y), bytes};
}

const std::uint8_t* source_row(const Picture& picture, std::int32_t y, std::int32_t x) {
  return picture.rgb.get() +
         3 * (std::size_t{picture.width} * static_cast<std::size_t>(y) + static_cast<std::size_t>(x));
}

// Rows after the horizontal pass, made when the vertical pass first needs them and kept while it still may.
// The vertical taps only move down, so a ring of the longest tap list is enough.
class FilteredRows {
 public:
  // REQUIRES: work.horizontal.
  FilteredRows(Work& work, std::int32_t capacity)
      : work_(work),
        row_bytes_(std::size_t{3} * static_cast<std::size_t>(work.placement.kept_width)),
        capacity_(capacity) {
    work_.scratch.ring.resize(row_bytes_ * static_cast<std::size_t>(capacity_));
  }

  // REQUIRES: y is above the lowest row asked for by less than `capacity` rows.
  const std::uint8_t* row(std::int32_t y) {
    std::uint8_t* slot = work_.scratch.ring.data() + row_bytes_ * static_cast<std::size_t>(y % capacity_);
    if (y >= next_) {
      work_.horizontal->apply(whole_row(work_.picture, y), 0, slot);
      next_ = y + 1;
    }
    return slot;
  }

 private:
  Work& work_;
  const std::size_t row_bytes_;
  const std::int32_t capacity_;
  std::int32_t next_ = 0;  // the first row not made yet
};

void horizontal_only(Work& work) {
  const Placement& placement = work.placement;
  work.scratch.out.resize(std::size_t{3} * static_cast<std::size_t>(placement.kept_width));
  for (std::int32_t y = 0; y < placement.kept_height; ++y) {
    const std::int32_t source_y = placement.kept_y + y;
    if (work.horizontal == nullptr) {
      work.sink.row(y, source_row(work.picture, source_y, placement.kept_x));
      continue;
    }
    work.horizontal->apply(whole_row(work.picture, source_y), 0, work.scratch.out.data());
    work.sink.row(y, work.scratch.out.data());
  }
}

// REQUIRES: work.horizontal, work.vertical.
void horizontal_then_vertical(Work& work) {
  Scratch& scratch = work.scratch;
  const std::int32_t row_bytes = 3 * work.placement.kept_width;
  scratch.out.resize(static_cast<std::size_t>(row_bytes));
  scratch.sums.resize(static_cast<std::size_t>(row_bytes));
  FilteredRows filtered(work, std::max(1, work.vertical->max_count()));
  for (std::int32_t y = 0; y < work.placement.kept_height; ++y) {
    const Taps taps = work.vertical->taps(y);
    scratch.rows.clear();
    for (std::int32_t i = 0; i < taps.count; ++i) scratch.rows.push_back(filtered.row(taps.first + i));
    filter_column(scratch.rows.data(), work.vertical->weights(y), taps.count, row_bytes, scratch.sums.data(),
                  scratch.out.data());
    work.sink.row(y, scratch.out.data());
  }
}

// Needs no ring: each output row comes straight from source rows. Only the columns that the horizontal pass
// reads are filtered. REQUIRES: work.vertical.
void vertical_then_horizontal(Work& work) {
  Scratch& scratch = work.scratch;
  std::int32_t first = work.placement.kept_x;
  std::int32_t end = first + work.placement.kept_width;
  if (work.horizontal != nullptr) {
    const Kernel& kernel = work.horizontal->kernel();
    const Taps last = kernel.taps(kernel.length() - 1);
    first = kernel.taps(0).first;
    end = last.first + last.count;
  }
  const std::int32_t row_bytes = 3 * (end - first);
  scratch.out.resize(static_cast<std::size_t>(row_bytes));
  scratch.sums.resize(static_cast<std::size_t>(row_bytes));
  scratch.narrow.resize(std::size_t{3} * static_cast<std::size_t>(work.placement.kept_width));
  for (std::int32_t y = 0; y < work.placement.kept_height; ++y) {
    const Taps taps = work.vertical->taps(y);
    scratch.rows.clear();
    for (std::int32_t i = 0; i < taps.count; ++i) {
      scratch.rows.push_back(source_row(work.picture, taps.first + i, first));
    }
    filter_column(scratch.rows.data(), work.vertical->weights(y), taps.count, row_bytes, scratch.sums.data(),
                  scratch.out.data());
    if (work.horizontal == nullptr) {
      work.sink.row(y, scratch.out.data());
      continue;
    }
    work.horizontal->apply(scratch.out, first, scratch.narrow.data());
    work.sink.row(y, scratch.narrow.data());
  }
}

}  // namespace

void resample(const Picture& picture, const Placement& placement, Filter filter, RowSink& sink) {
  thread_local Scratch scratch;
  const auto width = static_cast<std::int32_t>(picture.width);
  const auto height = static_cast<std::int32_t>(picture.height);
  std::optional<Kernel> horizontal;
  std::optional<Kernel> vertical;
  if (placement.resized_width != width) {
    horizontal.emplace(width, placement.resized_width, placement.kept_x, placement.kept_width, filter);
  }
  if (placement.resized_height != height) {
    vertical.emplace(height, placement.resized_height, placement.kept_y, placement.kept_height, filter);
  }
  std::optional<RowFilter> rows;
  if (horizontal) rows.emplace(*horizontal);
  Work work{picture, placement, rows ? &*rows : nullptr, vertical ? &*vertical : nullptr, sink, scratch};

  // Pillow's rule since 13.0: when the height loses more than twice what the width does, the vertical pass
  // goes first. The order shows in the last bit, because what lies between the passes is rounded to 8 bits.
  const std::int64_t lost_height = std::int64_t{height} - placement.resized_height;
  const std::int64_t lost_width = std::int64_t{width} - placement.resized_width;
  const bool vertical_first = lost_height > 0 && lost_height > 2 * lost_width;
  if (!vertical) {
    horizontal_only(work);
  } else if (vertical_first || !horizontal) {
    vertical_then_horizontal(work);
  } else {
    horizontal_then_vertical(work);
  }
  scratch.release_excess();
}

}  // namespace floodgate
