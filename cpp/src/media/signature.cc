#include "signature.h"

#include <algorithm>

namespace floodgate {
namespace {

// Luma by ITU-R BT.601 in 8-bit fixed point, of a pixel on white.
std::uint32_t luma(const std::uint8_t* pixel, std::uint8_t channels) {
  const std::uint32_t value = (77U * pixel[0] + 150U * pixel[1] + 29U * pixel[2] + 128) >> 8;
  if (channels == 3) return value;
  return (value * pixel[3] + 255 * (255U - pixel[3]) + 127) / 255;
}

// Pixels [first, second) of a side that cell `i` covers.
std::pair<std::uint32_t, std::uint32_t> cell(std::size_t i, std::uint32_t side) {
  const auto first = static_cast<std::uint32_t>(std::uint64_t{side} * i / kSignatureSide);
  const auto end = static_cast<std::uint32_t>(std::uint64_t{side} * (i + 1) / kSignatureSide);
  return {std::min(first, side - 1), std::max(end, std::min(first, side - 1) + 1)};
}

}  // namespace

FrameSignature signature_of(const ShownFrame& frame) {
  FrameSignature signature{};
  const std::uint8_t channels = frame.shape.channels;
  for (std::size_t cy = 0; cy < kSignatureSide; ++cy) {
    const auto [top, bottom] = cell(cy, frame.shape.height);
    for (std::size_t cx = 0; cx < kSignatureSide; ++cx) {
      const auto [left, right] = cell(cx, frame.shape.width);
      std::uint64_t sum = 0;
      for (std::uint32_t y = top; y < bottom; ++y) {
        const std::uint8_t* pixel = frame.pixels + frame.stride * y + std::size_t{channels} * left;
        for (std::uint32_t x = left; x < right; ++x, pixel += channels) sum += luma(pixel, channels);
      }
      const std::uint64_t count = std::uint64_t{bottom - top} * (right - left);
      signature[cy * kSignatureSide + cx] = static_cast<std::uint8_t>((sum + count / 2) / count);
    }
  }
  return signature;
}

}  // namespace floodgate
