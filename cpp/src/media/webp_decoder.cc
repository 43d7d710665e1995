// WebP through libwebp: stills into RGB directly or through RGBA composited on white; of an animation, the
// first frame on its canvas, as Pillow shows it.
#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>
#include <utility>

#include "decoder.h"
#include "pixels.h"

namespace floodgate {
namespace {

struct DeleteDecoder {
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};
using AnimationDecoder = std::unique_ptr<WebPAnimDecoder, DeleteDecoder>;

Status corrupt() { return {Code::kInvalidContent, "the WebP picture is corrupt or truncated"}; }

Status failure(VP8StatusCode code) {
  switch (code) {
    case VP8_STATUS_OUT_OF_MEMORY:
      return {Code::kOverloaded, "there is no memory to decode the WebP picture"};
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return {Code::kUnsupported, "the WebP picture uses a feature that is not supported"};
    default:
      return corrupt();
  }
}

Status decode_still(std::span<const std::uint8_t> data, bool has_alpha, Picture& picture) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0)
    return {Code::kInternal, "libwebp's headers and library do not match"};
  const std::size_t pixels = std::size_t{picture.width} * picture.height;
  Bytes rgba;
  if (has_alpha) {
    auto memory = allocate_bytes(4 * pixels);
    if (!memory.ok()) return memory.status();
    rgba = std::move(memory).value();
  }
  const std::size_t pixel_bytes = has_alpha ? 4 : 3;
  config.output.colorspace = has_alpha ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = has_alpha ? rgba.get() : picture.rgb.get();
  config.output.u.RGBA.stride = static_cast<int>(pixel_bytes * picture.width);
  config.output.u.RGBA.size = pixel_bytes * pixels;
  const VP8StatusCode code = WebPDecode(data.data(), data.size(), &config);
  if (code != VP8_STATUS_OK) return failure(code);
  if (has_alpha) composite_on_white(rgba.get(), picture.rgb.get(), pixels);
  return {};
}

Status decode_first_frame(std::span<const std::uint8_t> data, bool has_alpha, Picture& picture) {
  const WebPData encoded = {data.data(), data.size()};
  const AnimationDecoder decoder(WebPAnimDecoderNew(&encoded, nullptr));
  if (!decoder) return corrupt();
  WebPAnimInfo animation;
  if (WebPAnimDecoderGetInfo(decoder.get(), &animation) == 0) return corrupt();
  if (animation.canvas_width != picture.width || animation.canvas_height != picture.height) {
    return header_mismatch(Format::kWebp);
  }
  std::uint8_t* canvas = nullptr;
  int end_ms = 0;
  if (WebPAnimDecoderGetNext(decoder.get(), &canvas, &end_ms) == 0) return corrupt();
  const std::size_t pixels = std::size_t{picture.width} * picture.height;
  if (has_alpha) {
    composite_on_white(canvas, picture.rgb.get(), pixels);
  } else {
    drop_fourth(canvas, picture.rgb.get(), pixels);
  }
  return {};
}

}  // namespace

Result<Picture> decode_webp(std::span<const std::uint8_t> data, const MediaInfo& info) {
  WebPBitstreamFeatures features;
  const VP8StatusCode code = WebPGetFeatures(data.data(), data.size(), &features);
  if (code != VP8_STATUS_OK) return failure(code);
  if (static_cast<std::uint32_t>(features.width) != info.width ||
      static_cast<std::uint32_t>(features.height) != info.height) {
    return header_mismatch(info.format);
  }
  auto picture = allocate_picture(info.width, info.height);
  if (!picture.ok()) return picture;
  const bool has_alpha = features.has_alpha != 0;
  const Status status = features.has_animation != 0 ? decode_first_frame(data, has_alpha, picture.value())
                                                    : decode_still(data, has_alpha, picture.value());
  if (!status.ok()) return status;
  return picture;
}

}  // namespace floodgate
