// The pictures inside a PNG or APNG through libspng.
//
// libspng is given each picture as a small PNG of its own: header, palette, transparency and pixels, and
// nothing else, so that no metadata can make it fail or allocate (compressed texts and profiles never reach
// it). Borrows the data. Thread rule: decode() is const and may run on several threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "floodgate/decode.h"

namespace floodgate {

// Where the pixels of one picture are.
struct PngPixels {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::size_t at = 0;  // of the first of the chunks that hold them, one behind the other
  bool frame = false;  // in fdAT chunks rather than IDAT
};

class PngReader {
 public:
  // Reads what all pictures of the file share. Errors: kInvalidContent.
  static Result<PngReader> open(std::span<const std::uint8_t> data);

  // What IDAT holds.
  [[nodiscard]] const PngPixels& main() const { return main_; }
  [[nodiscard]] std::uint8_t bits() const { return bits_; }
  [[nodiscard]] bool interlaced() const { return interlaced_; }
  // Bytes of a pixel that decode() pushes: 4 with alpha or a transparent colour, else 3.
  [[nodiscard]] std::uint8_t channels() const { return channels_; }

  // Errors: kInvalidContent (corrupt, truncated), kOverloaded, and what the sink's begin() says.
  Status decode(const PngPixels& pixels, std::uint8_t orientation, RowSink& sink) const;

 private:
  class Feed;
  using Colors = std::array<std::array<std::uint8_t, 4>, 256>;

  explicit PngReader(std::span<const std::uint8_t> data) : data_(data) {}
  Status read_shared();
  void set_palette(std::span<const std::uint8_t> palette, std::span<const std::uint8_t> alphas);
  Status decode_whole(void* context, const PngPixels& pixels, int format, class StripWriter& strip) const;
  Status decode_rows(void* context, const PngPixels& pixels, int format, class StripWriter& strip) const;
  void convert_row(const std::uint8_t* row, std::uint32_t width, std::uint8_t* to) const;
  [[nodiscard]] std::size_t row_bytes(std::uint32_t width) const;

  std::span<const std::uint8_t> data_;
  PngPixels main_;
  std::uint8_t bits_ = 8;
  std::uint8_t color_type_ = 2;
  bool interlaced_ = false;
  std::uint8_t channels_ = 3;
  Colors colors_{};                 // of indexed pictures
  std::vector<std::uint8_t> trns_;  // of grey and colour ones: the transparent colour
};

}  // namespace floodgate
