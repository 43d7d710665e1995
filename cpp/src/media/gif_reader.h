// The frames of a GIF through giflib, one at a time.
//
// giflib is given each frame as a GIF of its own, without colours and extensions, so that it only unpacks
// codes and nothing it reads can allocate. Borrows the data. Thread rule: stateless.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>

#include "floodgate/decode.h"
#include "gif_blocks.h"

namespace floodgate {

// R, G, B, A of every index. Indices beyond the palette are black; without any palette all are greys.
using GifColors = std::array<std::array<std::uint8_t, 4>, 256>;

// The colours of a frame; the alpha of its transparent index is 0.
GifColors gif_colors(std::span<const std::uint8_t> data, const GifFrame& frame);

// Gives `line` the rows of the frame from top to bottom: its number and `frame.width` indices. Errors:
// kInvalidContent (corrupt or truncated), kOverloaded.
Status read_gif_frame(std::span<const std::uint8_t> data, const GifFrame& frame,
                      const std::function<void(std::uint32_t y, const std::uint8_t* indices)>& line);

}  // namespace floodgate
