// What floodgate-picture-decoder is linked with in place of the readers of AVIF, HEIC and videos, whose
// libraries would make each fork of it dearer. The server sends it no such job (sandbox.cc).
#include "media/animation.h"
#include "media/decoder.h"
#include "media/frame_sources.h"

namespace floodgate {
namespace {

Status not_here() { return {Code::kInternal, "this decoder was not built for the format"}; }

}  // namespace

Status decode_avif(Encoded, const MediaInfo&, const MediaLimits&, const DecodeOptions&, RowSink&) {
  return not_here();
}

Status decode_heic(Encoded, const MediaInfo&, const MediaLimits&, const DecodeOptions&, RowSink&) {
  return not_here();
}

OpenedAnimation open_avif_sequence(std::span<const std::uint8_t>, const MediaInfo&, const MediaLimits&) {
  return not_here();
}

Result<std::unique_ptr<FrameSource>> open_video(std::span<const std::uint8_t>, const MediaInfo&,
                                                const MediaLimits&, const SamplingPlan&, const FrameCursor&) {
  return not_here();
}

}  // namespace floodgate
