// A view's resize in the coordinates of the rows as they come, before any turning.
//
// Turning a picture upright and then resizing it reads the same samples with the same weights as resizing it
// as stored and writing the result elsewhere: a mirrored axis has its tap lists mirrored, and where the sides
// swap (orientations 5 to 8) the upright horizontal pass is the stored vertical one. So nothing needs the
// whole picture. "columns" is the stored x axis, "rows" the stored y axis. Memory: values. Thread rule:
// values.
#pragma once

#include <cstdint>
#include <optional>

#include "floodgate/decode.h"
#include "floodgate/view.h"
#include "kernel.h"
#include "placement.h"

namespace floodgate {

// How an EXIF orientation turns the stored picture: which of its axes run backwards, then whether they swap.
struct Turn {
  bool swaps_sides = false;
  bool mirrors_columns = false;
  bool mirrors_rows = false;
};

// REQUIRES: orientation in 1..8; others are upright.
Turn turn_of(std::uint8_t orientation);

struct Sides {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
};

// Upright size of the pixels that come, and the size at which they are shown: square pixels, the longer axis
// of a pixel's aspect stretched, rounded half to even.
Sides upright_sides(const FrameShape& shape, const Turn& turn);
Sides shown_sides(const FrameShape& shape, const Turn& turn);

// Pillow's rule since 13.0: when the height loses more than twice what the width does, the vertical pass goes
// first. The order shows in the last bit, because what lies between the passes is rounded to 8 bits. Upright
// sizes.
bool vertical_first(const Sides& picture, const Placement& placement);

// One stored axis. No kernel: samples [from, from + length) are kept as they are.
struct StoredAxis {
  std::optional<Kernel> kernel;
  std::int32_t from = 0;
  std::int32_t length = 0;  // of the output along this axis
};

struct StoredPlan {
  Placement placement;  // upright; kept_width 0: only padding shows, and the axes are empty
  Turn turn;
  StoredAxis columns;  // its output is in upright order
  StoredAxis rows;     // its output is in stored order, so that rows come out as they come in
  bool rows_first = false;
};

// Errors: kTooLarge (a side, stored or shown, beyond 2^18 px), kInvalidArgument (no pixels). May throw
// std::bad_alloc. REQUIRES: validate(view).ok().
Result<StoredPlan> plan_stored(const FrameShape& shape, const ImageView& view);

}  // namespace floodgate
