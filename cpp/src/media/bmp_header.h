// What the header of a Windows or OS/2 bitmap says, read once for probe() and again for its decoder.
//
// Refused: header sizes, depths, compressions and bit masks that Pillow refuses too. Thread rule: stateless.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "floodgate/media.h"
#include "header_reader.h"

namespace floodgate {

struct BmpHeader {
  enum class Coding : std::uint8_t { kPlain, kRle8, kRle4 };
  // Where the bytes of a pixel hold its channels; 16-bit pixels say how many bits green has.
  enum class Pixel : std::uint8_t { kIndex, k555, k565, kBytes };

  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::uint32_t bits = 0;  // a pixel: 1, 4, 8, 16, 24, 32
  bool top_down = false;
  Coding coding = Coding::kPlain;
  Pixel pixel = Pixel::kIndex;
  std::array<std::int8_t, 4> byte_of = {2, 1, 0, -1};  // kBytes: red, green, blue, alpha (-1: none)
  std::size_t palette_at = 0;
  std::uint32_t palette_entries = 0;  // as declared
  std::uint32_t palette_entry_bytes = 4;
  std::size_t pixels_at = 0;

  [[nodiscard]] bool has_alpha() const { return byte_of[3] >= 0; }
  // Bytes of one row of plain coding, padded to four.
  [[nodiscard]] std::uint64_t row_bytes() const { return (std::uint64_t{width} * bits + 31) / 32 * 4; }
};

Result<BmpHeader> read_bmp(HeaderReader& reader);

}  // namespace floodgate
