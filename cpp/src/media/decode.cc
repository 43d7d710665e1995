#include "floodgate/decode.h"

#include <string>

#include "decoder.h"
#include "header.h"

namespace floodgate {

Status header_mismatch(Format format) {
  return {Code::kInvalidContent,
          std::string("the ") + format_name(format) + " data describes two different pictures in its header"};
}

Status decode(std::span<const std::uint8_t> data, const MediaInfo& info, const MediaLimits& limits,
              const DecodeOptions& options, RowSink& sink) {
  if (data.empty()) return {Code::kInvalidContent, "the data is empty"};
  if (Status status = check_size(info, limits); !status.ok()) return status;
  switch (info.format) {
    case Format::kJpeg:
      return decode_jpeg(data, info, limits, options, sink);
    case Format::kPng:
      return decode_png(data, info, limits, options, sink);
    case Format::kWebp:
      return decode_webp(data, info, limits, options, sink);
    case Format::kGif:
      return decode_gif(data, info, limits, options, sink);
    case Format::kBmp:
      return decode_bmp(data, info, limits, options, sink);
    case Format::kAvif:
      return decode_avif(data, info, limits, options, sink);
    case Format::kHeic:
      return decode_heic(data, info, limits, options, sink);
    default:
      return {Code::kUnsupported, "a video is read frame by frame, not as a picture"};
  }
}

}  // namespace floodgate
