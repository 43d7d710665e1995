// The one EXIF value that changes pixels: orientation (tag 0x0112 of the first directory).
//
// Layout: TIFF 6.0, section 2 (header, image file directory), either byte order. Anything odd means upright,
// because a picture must not become unreadable through its metadata. Thread rule: stateless.
#pragma once

#include <cstddef>
#include <cstdint>

#include "header_reader.h"

namespace floodgate {

// Orientation 1..8 of the EXIF block in [begin, begin + length); 1 when it says nothing usable. A leading
// "Exif\0\0" is skipped. Of a repeated tag the last counts, as in Pillow.
std::uint8_t exif_orientation(HeaderReader& reader, std::size_t begin, std::size_t length);

}  // namespace floodgate
