// AVIF pictures and sequences through libavif.
//
// Opens with the strictness of Pillow's plugin, on one thread, with the limits given to the library. The
// clean aperture is ignored, as Pillow ignores it. Borrows the data. Thread rule: one reader, one thread.
#pragma once

#include <avif/avif.h>

#include <cstdint>
#include <memory>
#include <span>

#include "floodgate/decode.h"

namespace floodgate {

class AvifReader {
 public:
  // Reads the container; decodes nothing. Errors: kInvalidContent, kUnsupported, kTooLarge, kOverloaded.
  static Result<AvifReader> open(std::span<const std::uint8_t> data, const MediaLimits& limits);

  [[nodiscard]] const avifDecoder& decoder() const { return *decoder_; }
  [[nodiscard]] const avifImage& image() const { return *decoder_->image; }
  // 4 with an alpha plane, else 3.
  [[nodiscard]] std::uint8_t channels() const { return decoder_->alphaPresent ? 4 : 3; }

  // Decodes frame `index`, which image() then shows in YUV.
  Status decode(std::uint32_t index);

  // Converts rows first .. first + count - 1 of image() to RGB or RGBA. They equal those of a whole
  // conversion, because the rows around them are converted too; `rows` holds count + 2 * kContextRows rows
  // and the result begins at row `skip`. REQUIRES: first is even.
  static constexpr std::uint32_t kContextRows = 2;
  Status convert(std::uint32_t first, std::uint32_t count, std::uint8_t* rows, std::uint32_t& skip) const;

 private:
  struct DestroyDecoder {
    void operator()(avifDecoder* decoder) const { avifDecoderDestroy(decoder); }
  };
  std::unique_ptr<avifDecoder, DestroyDecoder> decoder_;
};

}  // namespace floodgate
