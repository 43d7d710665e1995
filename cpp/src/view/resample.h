// Separable resampling of 8-bit RGB: one pass, rounded to 8 bits, then the other, in the order that Pillow
// chooses.
//
// This is the readable reference that any faster version is held to, bit for bit. Thread rule: stateless;
// scratch is thread-local.
#pragma once

#include <cstdint>

#include "floodgate/media.h"
#include "floodgate/view.h"
#include "placement.h"

namespace floodgate {

// Receives the kept rows from top to bottom: `y` counts from 0, `rgb` holds 3 * kept_width bytes until it
// returns.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual void row(std::int32_t y, const std::uint8_t* rgb) = 0;
};

// Resizes `picture` and hands the kept rectangle of `placement` to `sink`. A side whose size does not change
// is not filtered, as in Pillow. May throw std::bad_alloc. REQUIRES: kept_width, kept_height > 0.
void resample(const Picture& picture, const Placement& placement, Filter filter, RowSink& sink);

}  // namespace floodgate
