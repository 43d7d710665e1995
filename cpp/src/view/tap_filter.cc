#include "tap_filter.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace floodgate {
namespace {

constexpr std::size_t kAlignment = 64;
constexpr int kLowBits = 15;

void put_halves(const std::int32_t (&weights)[kGroupTaps], std::uint8_t* out) {
  std::int16_t halves[2 * kGroupTaps];
  for (std::size_t i = 0; i < kGroupTaps; ++i) {
    halves[i] = static_cast<std::int16_t>(weights[i] & ((1 << kLowBits) - 1));
    halves[kGroupTaps + i] = static_cast<std::int16_t>(weights[i] >> kLowBits);
  }
  std::memcpy(out, halves, sizeof halves);
}

void put_digits(const std::int32_t (&weights)[kGroupTaps], std::uint8_t* out) {
  for (std::size_t i = 0; i < kGroupTaps; ++i) {
    // With 128 added to each digit, they are the bytes of an unsigned number.
    const std::uint32_t digits = (static_cast<std::uint32_t>(weights[i]) + 0x808080U) ^ 0x808080U;
    out[i] = static_cast<std::uint8_t>(digits);
    out[kGroupTaps + i] = static_cast<std::uint8_t>(digits >> 8);
    out[2 * kGroupTaps + i] = static_cast<std::uint8_t>(digits >> 16);
  }
}

// Packs groups of four taps, of which `skipped` at the start and those past `count` weigh nothing, and
// returns the end of what it wrote.
std::uint8_t* put_groups(WeightForm form, const std::int32_t* weights, std::size_t count, std::size_t skipped,
                         std::size_t groups, std::uint8_t* out) {
  for (std::size_t group = 0; group < groups; ++group, out += group_bytes(form)) {
    std::int32_t four[kGroupTaps] = {};
    const std::size_t tap = kGroupTaps * group;
    const std::size_t begin = std::max(tap, skipped);
    const std::size_t end = std::min(tap + kGroupTaps, skipped + count);
    for (std::size_t i = begin; i < end; ++i) four[i - tap] = weights[i - skipped];
    switch (form) {
      case WeightForm::kWhole:
        std::memcpy(out, four, sizeof four);
        break;
      case WeightForm::kHalves:
        put_halves(four, out);
        break;
      case WeightForm::kDigits:
        put_digits(four, out);
        break;
    }
  }
  return out;
}

struct Range {
  std::int32_t first;
  std::int32_t end;
};

Range range_of(const Kernel& kernel) {
  Range range{kernel.taps(0).first, kernel.taps(0).first + kernel.taps(0).count};
  for (std::int32_t i = 1; i < kernel.length(); ++i) {
    range.first = std::min(range.first, kernel.taps(i).first);
    range.end = std::max(range.end, kernel.taps(i).first + kernel.taps(i).count);
  }
  return range;
}

std::size_t most_groups(const Kernel& kernel, std::int32_t first) {
  std::size_t most = 1;
  for (std::int32_t i = 0; i < kernel.length(); ++i) {
    const Taps taps = kernel.taps(i);
    const auto offset = static_cast<std::size_t>(taps.first - first) % kGroupTaps;
    most = std::max(most, (offset + static_cast<std::size_t>(taps.count) + kGroupTaps - 1) / kGroupTaps);
  }
  return most;
}

// Quads that are gathered, and those that a pixel's last groups may reach beyond them, where they weigh
// nothing.
std::size_t quad_bytes(const Kernel& kernel) {
  const Range range = range_of(kernel);
  const std::size_t gathered = static_cast<std::size_t>(range.end - range.first) / kGroupTaps + 1;
  return kQuadBytes * (gathered + most_groups(kernel, range.first));
}

}  // namespace

AlignedBytes::AlignedBytes(std::size_t size)
    : bytes_(static_cast<std::uint8_t*>(::operator new[](size, std::align_val_t{kAlignment}))) {
  std::memset(bytes_.get(), 0, size);
}

void AlignedBytes::Free::operator()(std::uint8_t* bytes) const {
  ::operator delete[](bytes, std::align_val_t{kAlignment});
}

RowFilter::RowFilter(const PassFunctions& functions, const Kernel& kernel)
    : functions_(functions), length_(static_cast<std::size_t>(kernel.length())), quads_(quad_bytes(kernel)) {
  const Range range = range_of(kernel);
  first_ = range.first;
  pixels_ = range.end - range.first;
  groups_ = most_groups(kernel, first_);
  const std::size_t padded = (length_ + 3) / 4 * 4;
  first_quad_.reserve(padded);
  weights_.resize(padded * groups_ * group_bytes(functions.form));
  std::uint8_t* packed = weights_.data();
  for (std::int32_t i = 0; i < kernel.length(); ++i) {
    const Taps taps = kernel.taps(i);
    const auto offset = static_cast<std::size_t>(taps.first - first_);
    first_quad_.push_back(static_cast<std::uint32_t>(offset / kGroupTaps));
    packed = put_groups(functions.form, kernel.weights(i), static_cast<std::size_t>(taps.count),
                        offset % kGroupTaps, groups_, packed);
  }
  first_quad_.resize(padded, 0);
}

void RowFilter::apply(const std::uint8_t* const* rows, std::uint8_t* const* out) {
  functions_.gather(rows, static_cast<std::size_t>(pixels_), quads_.data());
  functions_.filter_rows(quads_.data(), first_quad_.data(), groups_, weights_.data(), length_, out);
}

ColumnFilter::ColumnFilter(const PassFunctions& functions, Kernel kernel)
    : functions_(functions), kernel_(std::move(kernel)) {
  const std::int32_t length = kernel_.length();
  const auto groups = [this](std::int32_t i) {
    return (static_cast<std::size_t>(kernel_.taps(i).count) + kGroupTaps - 1) / kGroupTaps;
  };
  std::size_t bytes = 0;
  starts_.reserve(static_cast<std::size_t>(length));
  for (std::int32_t i = 0; i < length; ++i) {
    starts_.push_back(bytes);
    bytes += groups(i) * group_bytes(functions.form);
  }
  weights_.resize(bytes);
  std::uint8_t* packed = weights_.data();
  for (std::int32_t i = 0; i < length; ++i) {
    packed = put_groups(functions.form, kernel_.weights(i), static_cast<std::size_t>(kernel_.taps(i).count),
                        0, groups(i), packed);
  }
}

void ColumnFilter::apply(std::int32_t i, std::vector<const std::uint8_t*>& rows, std::size_t bytes,
                         std::uint8_t* out) const {
  // Rows that fill up the last group weigh nothing, but are read.
  while (rows.size() % kGroupTaps != 0) rows.push_back(rows.back());
  functions_.filter_columns(rows.data(), rows.size() / kGroupTaps,
                            weights_.data() + starts_[static_cast<std::size_t>(i)], bytes, out);
}

}  // namespace floodgate
