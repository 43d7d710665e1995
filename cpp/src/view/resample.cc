#include "resample.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "kernel.h"

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

// One row: every output pixel is the weighted sum of its taps.
void filter_row(const std::uint8_t* in, const Kernel& kernel, std::uint8_t* out) {
  for (std::int32_t x = 0; x < kernel.length(); ++x) {
    const Taps taps = kernel.taps(x);
    const std::int32_t* weights = kernel.weights(x);
    const std::uint8_t* pixel = in + std::ptrdiff_t{3} * taps.first;
    std::int32_t red = kHalf;
    std::int32_t green = kHalf;
    std::int32_t blue = kHalf;
    for (std::int32_t i = 0; i < taps.count; ++i, pixel += 3) {
      red += pixel[0] * weights[i];
      green += pixel[1] * weights[i];
      blue += pixel[2] * weights[i];
    }
    out[0] = to_byte(red);
    out[1] = to_byte(green);
    out[2] = to_byte(blue);
    out += 3;
  }
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

// Rows after the horizontal pass, made when the vertical pass first needs them and kept while it still may.
// The vertical taps only move down, so a ring of the longest tap list is enough.
class FilteredRows {
 public:
  FilteredRows(const Picture& picture, const Placement& placement, const Kernel* kernel,
               std::int32_t capacity, std::vector<std::uint8_t>& memory)
      : picture_(picture),
        kernel_(kernel),
        kept_x_(placement.kept_x),
        row_bytes_(std::size_t{3} * static_cast<std::size_t>(placement.kept_width)),
        capacity_(capacity),
        memory_(memory) {
    if (kernel_ != nullptr) memory_.resize(row_bytes_ * static_cast<std::size_t>(capacity_));
  }

  // REQUIRES: rows are asked for so that no row is `capacity` or more above the lowest asked for.
  const std::uint8_t* row(std::int32_t y) {
    const std::uint8_t* source =
        picture_.rgb.get() + std::size_t{3} * picture_.width * static_cast<std::size_t>(y);
    if (kernel_ == nullptr) return source + std::ptrdiff_t{3} * kept_x_;
    std::uint8_t* slot = memory_.data() + row_bytes_ * static_cast<std::size_t>(y % capacity_);
    if (y >= next_) {
      filter_row(source, *kernel_, slot);
      next_ = y + 1;
    }
    return slot;
  }

 private:
  const Picture& picture_;
  const Kernel* const kernel_;  // null when the width does not change
  const std::int32_t kept_x_;
  const std::size_t row_bytes_;
  const std::int32_t capacity_;
  std::vector<std::uint8_t>& memory_;
  std::int32_t next_ = 0;  // the first row not made yet
};

struct Scratch {
  std::vector<std::uint8_t> ring;
  std::vector<std::uint8_t> out;
  std::vector<std::int32_t> sums;
  std::vector<const std::uint8_t*> rows;
};

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

  const std::int32_t capacity = vertical ? std::max(1, vertical->max_count()) : 1;
  FilteredRows rows(picture, placement, horizontal ? &*horizontal : nullptr, capacity, scratch.ring);
  if (!vertical) {
    for (std::int32_t y = 0; y < placement.kept_height; ++y) sink.row(y, rows.row(placement.kept_y + y));
    return;
  }
  const std::int32_t row_bytes = 3 * placement.kept_width;
  scratch.out.resize(static_cast<std::size_t>(row_bytes));
  scratch.sums.resize(static_cast<std::size_t>(row_bytes));
  for (std::int32_t y = 0; y < placement.kept_height; ++y) {
    const Taps taps = vertical->taps(y);
    scratch.rows.resize(static_cast<std::size_t>(taps.count));
    for (std::int32_t i = 0; i < taps.count; ++i)
      scratch.rows[static_cast<std::size_t>(i)] = rows.row(taps.first + i);
    filter_column(scratch.rows.data(), vertical->weights(y), taps.count, row_bytes, scratch.sums.data(),
                  scratch.out.data());
    sink.row(y, scratch.out.data());
  }
}

}  // namespace floodgate
