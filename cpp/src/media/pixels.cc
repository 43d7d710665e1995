#include "pixels.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

namespace floodgate {
namespace {

// value / 255 rounded to nearest, exact for 0..65025.
inline std::uint32_t divide_by_255(std::uint32_t value) {
  value += 128;
  return (value + (value >> 8)) >> 8;
}

}  // namespace

Result<Bytes> allocate_bytes(std::size_t bytes) {
  Bytes memory(new (std::nothrow) std::uint8_t[bytes]);
  if (!memory) {
    return Status(Code::kOverloaded,
                  "there is no memory for the picture's pixels (" + std::to_string(bytes >> 20) + " MiB)");
  }
  return memory;
}

Result<Bytes> allocate_zeroed(std::size_t bytes) {
  Bytes memory(new (std::nothrow) std::uint8_t[bytes]());
  if (!memory) return allocate_bytes(bytes);  // says what is missing
  return memory;
}

Result<Picture> allocate_picture(std::uint32_t width, std::uint32_t height) {
  Picture picture;
  picture.width = width;
  picture.height = height;
  auto memory = allocate_bytes(picture.bytes());
  if (!memory.ok()) return memory.status();
  picture.rgb = std::move(memory).value();
  return picture;
}

void composite_on_white(const std::uint8_t* rgba, std::uint8_t* rgb, std::size_t pixels) {
  for (std::size_t i = 0; i < pixels; ++i) {
    const std::uint32_t alpha = rgba[4 * i + 3];
    const std::uint32_t white = 255 * (255 - alpha);
    for (std::size_t c = 0; c < 3; ++c) {
      rgb[3 * i + c] = static_cast<std::uint8_t>(divide_by_255(white + rgba[4 * i + c] * alpha));
    }
  }
}

void drop_fourth(const std::uint8_t* rgbx, std::uint8_t* rgb, std::size_t pixels) {
  for (std::size_t i = 0; i < pixels; ++i) {
    for (std::size_t c = 0; c < 3; ++c) rgb[3 * i + c] = rgbx[4 * i + c];
  }
}

void cmyk_to_rgb(const std::uint8_t* inverted_cmyk, std::uint8_t* rgb, std::size_t pixels) {
  for (std::size_t i = 0; i < pixels; ++i) {
    // Inverted, a component is already 255 - ink. With w = 255 - k, Pillow computes w - c * w / 255.
    const std::uint32_t w = inverted_cmyk[4 * i + 3];
    for (std::size_t c = 0; c < 3; ++c) {
      const std::uint32_t ink = 255U - inverted_cmyk[4 * i + c];
      rgb[3 * i + c] = static_cast<std::uint8_t>(w - divide_by_255(ink * w));
    }
  }
}

Result<Picture> upright(Picture picture, std::uint8_t orientation) {
  if (orientation <= 1 || orientation > 8) return picture;
  const bool swaps_sides = orientation >= 5;
  const bool mirrored_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirrored_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;

  auto turned = swaps_sides ? allocate_picture(picture.height, picture.width)
                            : allocate_picture(picture.width, picture.height);
  if (!turned.ok()) return turned.status();
  Picture& to = turned.value();

  // Walking the result row by row walks the source by these steps, in bytes.
  const auto row_bytes = static_cast<std::ptrdiff_t>(3 * std::size_t{picture.width});
  const std::ptrdiff_t source_x = mirrored_x ? -3 : 3;
  const std::ptrdiff_t source_y = mirrored_y ? -row_bytes : row_bytes;
  const std::ptrdiff_t step_x = swaps_sides ? source_y : source_x;
  const std::ptrdiff_t step_y = swaps_sides ? source_x : source_y;
  const std::uint8_t* const origin =
      picture.rgb.get() + (mirrored_x ? row_bytes - 3 : 0) +
      (mirrored_y ? row_bytes * (static_cast<std::ptrdiff_t>(picture.height) - 1) : 0);

  // Tiles keep a turned picture's source lines in cache from one row to the next.
  constexpr std::ptrdiff_t kTile = 64;
  const std::ptrdiff_t width = to.width;
  const std::ptrdiff_t height = to.height;
  for (std::ptrdiff_t tile_y = 0; tile_y < height; tile_y += kTile) {
    for (std::ptrdiff_t tile_x = 0; tile_x < width; tile_x += kTile) {
      for (std::ptrdiff_t y = tile_y; y < std::min(tile_y + kTile, height); ++y) {
        std::uint8_t* out = to.rgb.get() + 3 * (y * width + tile_x);
        for (std::ptrdiff_t x = tile_x; x < std::min(tile_x + kTile, width); ++x) {
          const std::uint8_t* in = origin + x * step_x + y * step_y;
          *out++ = in[0];
          *out++ = in[1];
          *out++ = in[2];
        }
      }
    }
  }
  return turned;
}

}  // namespace floodgate
