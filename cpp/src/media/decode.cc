#include <string>
#include <utility>

#include "decoder.h"
#include "floodgate/media.h"
#include "header.h"
#include "pixels.h"

namespace floodgate {

Status header_mismatch(Format format) {
  return {Code::kInvalidContent,
          std::string("the ") + format_name(format) + " data describes two different pictures in its header"};
}

Result<Picture> decode(std::span<const std::uint8_t> data, const MediaInfo& info, const MediaLimits& limits) {
  if (data.empty()) return Status(Code::kInvalidContent, "the data is empty");
  if (Status status = check_size(info, limits); !status.ok()) return status;
  auto picture = [&]() -> Result<Picture> {
    switch (info.format) {
      case Format::kJpeg:
        return decode_jpeg(data, info);
      case Format::kPng:
        return decode_png(data, info);
      case Format::kWebp:
        return decode_webp(data, info);
    }
    return Status(Code::kUnsupported, "the picture's format is not supported");
  }();
  if (!picture.ok()) return picture;
  return upright(std::move(picture).value(), info.orientation);
}

}  // namespace floodgate
