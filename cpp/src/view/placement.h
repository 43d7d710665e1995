// Where things go: to which size the whole picture is resized, and which part of that the view keeps.
//
// The three modes are Pillow's Image.resize, ImageOps.pad and ImageOps.cover followed by a centre crop, with
// the same rounding (half to even, as Python's round). A picture so long and thin that the letterbox rounds a
// side to 0 leaves only padding, as in Pillow 13. Thread rule: stateless.
#pragma once

#include <cstdint>

#include "floodgate/view.h"

namespace floodgate {

// All in px. The kept rectangle lies inside the resized picture and inside the view's output.
struct Placement {
  std::int32_t resized_width = 0;  // 0 on a side: nothing shows
  std::int32_t resized_height = 0;
  std::int32_t kept_x = 0;  // of the kept rectangle, in the resized picture
  std::int32_t kept_y = 0;
  std::int32_t kept_width = 0;  // 0 when only padding shows
  std::int32_t kept_height = 0;
  std::int32_t out_x = 0;  // of the kept rectangle, in the output
  std::int32_t out_y = 0;
};

// REQUIRES: both sides of the picture in 1..2^18, validate(view).ok().
Placement place(std::uint32_t picture_width, std::uint32_t picture_height, const ImageView& view);

}  // namespace floodgate
