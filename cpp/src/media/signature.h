// The signature that tells near copies of a frame (sequence.h).
//
// Thread rule: stateless.
#pragma once

#include "animation.h"
#include "floodgate/sequence.h"

namespace floodgate {

// Mean luma of each cell of a 16 x 16 grid over the stored frame, alpha on white. Of a side under 16 px a
// cell takes the nearest pixels.
FrameSignature signature_of(const ShownFrame& frame);

}  // namespace floodgate
