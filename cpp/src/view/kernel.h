// Resampling weights for one axis, exactly those of Pillow's ImagingResample for 8-bit pictures.
//
// An output pixel is the weighted sum of `count` input pixels from `first` on. Weights are computed in
// double, normalised to sum 1, then rounded to 22-bit fixed point. Thread rule: values.
#pragma once

#include <cstdint>
#include <vector>

#include "floodgate/view.h"

namespace floodgate {

// 32 bits less 8 for the sample and 2 for filters whose weights leave [0, 1].
inline constexpr int kPrecisionBits = 32 - 8 - 2;
// Added to a sum before it is cut, so that it is rounded to nearest.
inline constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);

struct Taps {
  std::int32_t first;
  std::int32_t count;
};

class Kernel {
 public:
  // Weights of output pixels [from, from + length) when `in` pixels are resized to `out`.
  // REQUIRES: in, out > 0; 0 <= from; from + length <= out.
  Kernel(std::int32_t in, std::int32_t out, std::int32_t from, std::int32_t length, Filter filter);

  // Output pixel i is input pixel from + i.
  static Kernel copy(std::int32_t from, std::int32_t length);

  // Makes it read an axis of `in` pixels from the other end: each output pixel stays, its taps move.
  void mirror(std::int32_t in);
  // Makes the last output pixel the first.
  void reverse();

  [[nodiscard]] std::int32_t length() const { return static_cast<std::int32_t>(taps_.size()); }
  // The most input pixels that one output pixel reads.
  [[nodiscard]] std::int32_t max_count() const { return max_count_; }
  // Of output pixel from + i.
  [[nodiscard]] Taps taps(std::int32_t i) const { return taps_[static_cast<std::size_t>(i)]; }
  [[nodiscard]] const std::int32_t* weights(std::int32_t i) const {
    return weights_.data() + starts_[static_cast<std::size_t>(i)];
  }

 private:
  Kernel() = default;

  std::vector<Taps> taps_;
  std::vector<std::size_t> starts_;
  std::vector<std::int32_t> weights_;
  std::int32_t max_count_ = 0;
};

}  // namespace floodgate
