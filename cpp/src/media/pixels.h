// Pixel arithmetic between a codec's output and a Picture: allocation, alpha, CMYK, orientation.
//
// Every formula is the one Pillow uses, so that results are equal bit for bit. Thread rule: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "floodgate/decode.h"

namespace floodgate {

using Bytes = std::unique_ptr<std::uint8_t[]>;

// `bytes` uninitialised bytes; kOverloaded when there is no memory for them.
Result<Bytes> allocate_bytes(std::size_t bytes);
// `bytes` zeros; kOverloaded when there is no memory for them.
Result<Bytes> allocate_zeroed(std::size_t bytes);

// An uninitialised picture; kOverloaded when there is no memory for it.
Result<Picture> allocate_picture(std::uint32_t width, std::uint32_t height);

// `pixels` RGBA pixels over white into RGB: (255 * (255 - a) + v * a) / 255, rounded to nearest as Pillow's
// Image.paste(im, mask=alpha) does.
void composite_on_white(const std::uint8_t* rgba, std::uint8_t* rgb, std::size_t pixels);

// `pixels` RGBA or RGBX pixels into RGB, ignoring the fourth byte.
void drop_fourth(const std::uint8_t* rgbx, std::uint8_t* rgb, std::size_t pixels);

// `pixels` CMYK pixels, inverted as Adobe writes them, into RGB: Pillow's unpacker "CMYK;I" then
// convert("RGB").
void cmyk_to_rgb(const std::uint8_t* inverted_cmyk, std::uint8_t* rgb, std::size_t pixels);

// The picture turned upright (EXIF orientation 1..8), as Pillow's ImageOps.exif_transpose turns it.
// Errors: kOverloaded (no memory for the second copy).
Result<Picture> upright(Picture picture, std::uint8_t orientation);

}  // namespace floodgate
