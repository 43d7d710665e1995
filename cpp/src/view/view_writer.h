// Where a view's pixels go: padding, colour order, layout, and the turn that makes stored rows upright.
//
// Memory: the output row is the caller's. Thread rule: one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "floodgate/view.h"
#include "passes.h"
#include "stored_plan.h"

namespace floodgate {

class ViewWriter {
 public:
  // REQUIRES: out.size() == view.row_bytes().
  ViewWriter(const ImageView& view, const StoredPlan& plan, std::span<std::uint8_t> out);

  // Fills with the view's padding whatever no row will cover.
  void pad();

  // Output row `i` of the plan's rows axis: RGB, as many pixels as the plan's columns axis has.
  void row(std::int32_t i, const std::uint8_t* rgb);

 private:
  std::uint8_t* const out_;
  const std::size_t bytes_;
  const std::size_t area_;  // pixels of the output
  const std::array<std::uint8_t, 3> pad_color_;
  const bool covered_;  // by rows, wholly
  const PassFunctions& functions_;
  std::size_t pixel_step_;    // from one output pixel to its neighbour
  std::ptrdiff_t count_ = 0;  // pixels in a row
  std::ptrdiff_t first_ = 0;  // of row 0
  std::ptrdiff_t row_step_ = 0;
  std::ptrdiff_t column_step_ = 0;
  std::array<std::size_t, 3> channel_{};  // offset of R, G, B
};

}  // namespace floodgate
