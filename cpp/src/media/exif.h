// The one value of EXIF and XMP that changes pixels: orientation (tag 0x0112 of the first directory).
//
// Layout: TIFF 6.0, section 2 (header, image file directory), either byte order. Anything odd means upright,
// because a picture must not become unreadable through its metadata. Thread rule: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "header_reader.h"

namespace floodgate {

// Orientation 1..8 of the EXIF block in [begin, begin + length): 1 when the tag holds nothing usable, nothing
// when there is no such tag. Leading "Exif\0\0" are skipped. Of a repeated tag the first counts whose value
// is there, and of several values the first, as in Pillow 13.
std::optional<std::uint8_t> exif_orientation(HeaderReader& reader, std::size_t begin, std::size_t length);

// The same of an XMP packet: the digit behind the first `tiff:Orientation="` or `tiff:Orientation>`. Pillow
// asks it only when EXIF is silent. At most 64 KB of the packet are looked at.
std::optional<std::uint8_t> xmp_orientation(HeaderReader& reader, std::size_t begin, std::size_t length);

}  // namespace floodgate
