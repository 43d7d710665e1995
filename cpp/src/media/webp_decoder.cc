// WebP through libwebp: stills whole, because the library fills one buffer; of an animation, the first frame
// on its canvas, as Pillow shows it.
#include <webp/decode.h>
#include <webp/demux.h>

#include <memory>
#include <utility>

#include "decoder.h"
#include "strip.h"

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

Status decode_still(Encoded data, const MediaInfo& info, std::uint8_t channels, RowSink& sink) {
  WebPDecoderConfig config;
  if (WebPInitDecoderConfig(&config) == 0)
    return {Code::kInternal, "libwebp's headers and library do not match"};
  const std::size_t stride = std::size_t{channels} * info.width;
  auto memory = allocate_bytes(stride * info.height);
  if (!memory.ok()) return memory.status();
  const Bytes pixels = std::move(memory).value();
  config.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = pixels.get();
  config.output.u.RGBA.stride = static_cast<int>(stride);
  config.output.u.RGBA.size = stride * info.height;
  const VP8StatusCode code = WebPDecode(data.data(), data.size(), &config);
  if (code != VP8_STATUS_OK) return failure(code);
  if (Status begun = sink.begin({info.width, info.height, info.orientation, channels}); !begun.ok()) {
    return begun;
  }
  push_rows(sink, 0, info.height, pixels.get(), stride);
  return {};
}

Status decode_first_frame(Encoded data, const MediaInfo& info, RowSink& sink) {
  const WebPData encoded = {data.data(), data.size()};
  const AnimationDecoder decoder(WebPAnimDecoderNew(&encoded, nullptr));
  if (!decoder) return corrupt();
  WebPAnimInfo animation;
  if (WebPAnimDecoderGetInfo(decoder.get(), &animation) == 0) return corrupt();
  if (animation.canvas_width != info.width || animation.canvas_height != info.height) {
    return header_mismatch(Format::kWebp);
  }
  std::uint8_t* canvas = nullptr;
  int end_ms = 0;
  if (WebPAnimDecoderGetNext(decoder.get(), &canvas, &end_ms) == 0) return corrupt();
  if (Status begun = sink.begin({info.width, info.height, info.orientation, 4}); !begun.ok()) return begun;
  push_rows(sink, 0, info.height, canvas, std::size_t{4} * info.width);
  return {};
}

}  // namespace

Status decode_webp(Encoded data, const MediaInfo& info, const MediaLimits& /*limits*/,
                   const DecodeOptions& /*options*/, RowSink& sink) {
  WebPBitstreamFeatures features;
  const VP8StatusCode code = WebPGetFeatures(data.data(), data.size(), &features);
  if (code != VP8_STATUS_OK) return failure(code);
  if (static_cast<std::uint32_t>(features.width) != info.width ||
      static_cast<std::uint32_t>(features.height) != info.height) {
    return header_mismatch(info.format);
  }
  if (features.has_animation != 0) return decode_first_frame(data, info, sink);
  return decode_still(data, info, features.has_alpha != 0 ? 4 : 3, sink);
}

}  // namespace floodgate
