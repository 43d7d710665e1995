// The readable reference for views: the whole picture, one plain loop a step, exactly as Pillow goes about
// it.
//
// Composites, turns upright, resizes in two passes rounded to 8 bits, then crops or pads. What renders views
// at speed is held to it bit for bit, by tests and by fuzzing; nothing else calls it. May throw
// std::bad_alloc. Thread rule: stateless.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "floodgate/decode.h"
#include "floodgate/view.h"

namespace floodgate {

// `pixels`: all rows of `shape`, packed. Returns view.row_bytes() bytes. REQUIRES: validate(view).ok(), sides
// within what views handle.
std::vector<std::uint8_t> reference_view(const FrameShape& shape, std::span<const std::uint8_t> pixels,
                                         const ImageView& view);

}  // namespace floodgate
