// Metadata that a PNG keeps as text: "Raw profile type exif", hexadecimal, as ImageMagick wrote EXIF before
// eXIf was a chunk; and XMP packets, which others than the plain form that the header reader knows may be.
//
// Both may stand in tEXt, zTXt and iTXt chunks; the first 64 KiB of a text are looked at, and what is
// malformed or has a wrong checksum is passed over. Decompresses, so that it is the sandboxed decoder's
// business and no header reader's. Thread rule: stateless.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace floodgate {

// The orientation (1..8) that the last profile tells, or else the last packet; nothing where none does, or an
// eXIf chunk is there, which goes before them.
std::optional<std::uint8_t> png_text_orientation(std::span<const std::uint8_t> data);

}  // namespace floodgate
