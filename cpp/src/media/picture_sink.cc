#include <cstring>
#include <utility>

#include "floodgate/decode.h"
#include "pixels.h"

namespace floodgate {

Status PictureSink::begin(const FrameShape& shape) {
  shape_ = shape;
  next_ = 0;
  auto picture = allocate_picture(shape.width, shape.height);
  if (!picture.ok()) return picture.status();
  picture_ = std::move(picture).value();
  return {};
}

void PictureSink::rows(std::uint32_t y, std::uint32_t count, const std::uint8_t* pixels, std::size_t stride) {
  const std::size_t row_bytes = std::size_t{3} * shape_.width;
  for (std::uint32_t i = 0; i < count; ++i) {
    std::uint8_t* const to = picture_.rgb.get() + row_bytes * (y + i);
    if (shape_.channels == 4) {
      composite_on_white(pixels + stride * i, to, shape_.width);
    } else {
      std::memcpy(to, pixels + stride * i, row_bytes);
    }
  }
  next_ = y + count;
}

Result<Picture> PictureSink::take() {
  if (next_ != shape_.height || !picture_.rgb) {
    return Status(Code::kInternal, "the decoder left out rows of the picture");
  }
  return upright(std::move(picture_), shape_.orientation);
}

Result<Picture> decode_picture(std::span<const std::uint8_t> data, const MediaInfo& info,
                               const MediaLimits& limits, const DecodeOptions& options) {
  PictureSink sink;
  if (Status decoded = decode(data, info, limits, options, sink); !decoded.ok()) return decoded;
  return sink.take();
}

}  // namespace floodgate
