// The horizontal pass over one row: every output pixel is the weighted sum of its taps.
//
// With AVX2 four taps of all three channels are summed at once, in exact integer arithmetic: every processor
// gives the same bits. Thread rule: immutable after construction. REQUIRES: the kernel outlives its filter.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernel.h"

namespace floodgate {

class RowFilter {
 public:
  explicit RowFilter(const Kernel& kernel);

  [[nodiscard]] const Kernel& kernel() const { return kernel_; }

  // `row` holds RGB pixels from input pixel `origin` on, `out` takes 3 bytes for each of the kernel's output
  // pixels. REQUIRES: `row` holds every tap.
  void apply(std::span<const std::uint8_t> row, std::int32_t origin, std::uint8_t* out) const;

 private:
  // Four weights, each split into w = high * 2^15 + low, so that both halves fit the 16 bits that
  // multiply-add instructions take.
  struct Group {
    std::int16_t low[4];
    std::int16_t high[4];
  };

  void plain(std::span<const std::uint8_t> row, std::int32_t origin, std::int32_t from,
             std::uint8_t* out) const;
  [[nodiscard]] std::int32_t in_fours(std::span<const std::uint8_t> row, std::int32_t origin,
                                      std::uint8_t* out) const;

  const Kernel& kernel_;
  std::vector<Group> groups_;               // empty where the processor has no use for them
  std::vector<std::uint32_t> first_group_;  // of each output pixel, and one past the last
};

}  // namespace floodgate
