// PNG: rows as they come, RGB or RGBA. Samples of 16 bits keep their high byte; 1, 2 and 4-bit grey is scaled
// to 0..255; a transparent colour is compared as the standard says. Of an APNG, the picture in IDAT.
#include "decoder.h"
#include "png_reader.h"
#include "png_text.h"

namespace floodgate {

Status decode_png(Encoded data, const MediaInfo& info, const MediaLimits& /*limits*/,
                  const DecodeOptions& /*options*/, RowSink& sink) {
  const auto reader = PngReader::open(data);
  if (!reader.ok()) return reader.status();
  const PngReader& png = reader.value();
  if (png.main().width != info.width || png.main().height != info.height || png.bits() != info.bits ||
      png.interlaced() != info.progressive) {
    return header_mismatch(info.format);
  }
  return png.decode(png.main(), png_text_orientation(data).value_or(info.orientation), sink);
}

}  // namespace floodgate
