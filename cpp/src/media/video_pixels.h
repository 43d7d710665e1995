// A decoded frame as rows of RGB: colour matrix and range, high dynamic range, shape, and signature.
//
// The matrix and the range are the frame's own. Where it names no matrix it is read as BT.601 and limited
// range, as FFmpeg, OpenCV and PyAV do. Primaries and transfer of standard range are left alone, as they do;
// PQ and HLG are tone-mapped. Thread rule: one FramePixels, one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "floodgate/decode.h"
#include "floodgate/media.h"
#include "floodgate/sequence.h"
#include "floodgate/status.h"
#include "libav.h"
#include "pixels.h"
#include "tone_map.h"
#include "video_scaler.h"

namespace floodgate {

// What the container, or else a frame, says about all that follow. Plain data.
struct StreamLook {
  std::uint8_t orientation = 1;
  bool turned = false;         // the container has a display matrix
  AVRational aspect = {0, 1};  // of samples; 0: unknown
  double peak_nits = 0;        // 0: unknown
};
StreamLook look_of(const AVStream& stream);

// The EXIF orientation (1..8) nearest to an FFmpeg display matrix; 1 for what is none.
std::uint8_t orientation_of(const std::int32_t (&matrix)[9]);

class FramePixels {
 public:
  explicit FramePixels(const StreamLook& look) : look_(look) {}

  FrameShape shape(const AVFrame& frame);
  // Errors: kTooLarge, kUnsupported (a pixel format that cannot be converted).
  static Status check(const AVFrame& frame, const MediaLimits& limits);
  [[nodiscard]] static bool is_hdr(const AVFrame& frame);
  // Errors: kOverloaded.
  Result<FrameSignature> signature(const AVFrame& frame);
  // Errors: kOverloaded, kUnsupported, and whatever the sink's begin() says.
  Status push(const AVFrame& frame, RowSink& sink);

 private:
  Status scale(const AVFrame& frame, AVPixelFormat to);
  Status prepare(const AVFrame& frame, AVPixelFormat to);

  StreamLook look_;
  ScalerPtr scaler_;
  ScalerSettings settings_;
  Bytes rgb_;  // the whole frame, 3 bytes a pixel or 6
  std::size_t rgb_bytes_ = 0, stride_ = 0;
  const AVFrame* holds_ = nullptr;  // whose RGB24 `rgb_` has since signature()
  std::unique_ptr<ToneMap> tone_map_;
};

}  // namespace floodgate
