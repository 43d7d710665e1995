// AVIF: decoded whole by the library, converted to RGB strip by strip.
#include <algorithm>

#include "avif_reader.h"
#include "decoder.h"
#include "strip.h"

namespace floodgate {
namespace {

constexpr std::uint32_t kConvertedRows = 64;  // at a time; even

}  // namespace

Status decode_avif(Encoded data, const MediaInfo& info, const MediaLimits& limits,
                   const DecodeOptions& /*options*/, RowSink& sink) {
  auto opened = AvifReader::open(data, limits);
  if (!opened.ok()) return opened.status();
  AvifReader& reader = opened.value();
  const avifImage& image = reader.image();
  if (image.width != info.width || image.height != info.height) return header_mismatch(info.format);
  if (Status decoded = reader.decode(0); !decoded.ok()) return decoded;
  // The pixels may say otherwise than the container did.
  if (image.width != info.width || image.height != info.height) return header_mismatch(info.format);

  const std::uint8_t channels = reader.channels();
  const std::size_t stride = std::size_t{channels} * info.width;
  auto memory = allocate_bytes(stride * (kConvertedRows + 2 * AvifReader::kContextRows));
  if (!memory.ok()) return memory.status();
  std::uint8_t* const rows = memory.value().get();
  if (Status begun = sink.begin({info.width, info.height, info.orientation, channels}); !begun.ok()) {
    return begun;
  }
  for (std::uint32_t y = 0; y < info.height; y += kConvertedRows) {
    const std::uint32_t count = std::min(kConvertedRows, info.height - y);
    std::uint32_t skip = 0;
    if (Status converted = reader.convert(y, count, rows, skip); !converted.ok()) return converted;
    push_rows(sink, y, count, rows + stride * skip, stride);
  }
  return {};
}

}  // namespace floodgate
