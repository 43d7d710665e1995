// AVIF image sequences: libavif decodes a frame from the key frame before it.
#include <algorithm>
#include <cmath>
#include <utility>

#include "animation.h"
#include "avif_reader.h"
#include "decoder.h"
#include "delay.h"
#include "pixels.h"

namespace floodgate {
namespace {

class AvifSequence final : public AnimationReader {
 public:
  explicit AvifSequence(AvifReader reader) : reader_(std::move(reader)) {}

  Status open(const MediaInfo& info, const MediaLimits& limits) {
    const avifDecoder& decoder = reader_.decoder();
    if (reader_.image().width != info.width || reader_.image().height != info.height) {
      return header_mismatch(Format::kAvif);
    }
    width_ = info.width;
    height_ = info.height;
    for (int i = 0; i < decoder.imageCount; ++i) {
      avifImageTiming timing{};
      if (avifDecoderNthImageTiming(&decoder, static_cast<std::uint32_t>(i), &timing) != AVIF_RESULT_OK)
        break;
      // Finite and positive, or shown as briefly as a frame without a time.
      const double ms = std::isfinite(timing.duration) ? std::clamp(timing.duration * 1000.0, 0.0, 1e9) : 0.0;
      const double us = ms <= 10.0 ? kShortDelayMs * 1000.0 : ms * 1000.0;
      timeline_.add(static_cast<std::int64_t>(us));
    }
    if (timeline_.starts_us.empty()) {
      return {Code::kInvalidContent, "the AVIF sequence has no frames"};
    }
    return check_timeline(timeline_, limits);
  }

  [[nodiscard]] const Timeline& timeline() const override { return timeline_; }
  [[nodiscard]] const char* codec() const override { return "avif"; }

  Result<ShownFrame> show(std::uint32_t index) override {
    if (Status decoded = reader_.decode(index); !decoded.ok()) return decoded;
    if (reader_.image().width != width_ || reader_.image().height != height_) {
      return header_mismatch(Format::kAvif);
    }
    const std::uint8_t channels = reader_.channels();
    const std::size_t stride = std::size_t{channels} * width_;
    if (!pixels_) {
      auto memory = allocate_bytes(stride * (height_ + 2 * AvifReader::kContextRows));
      if (!memory.ok()) return memory.status();
      pixels_ = std::move(memory).value();
    }
    std::uint32_t skip = 0;
    if (Status converted = reader_.convert(0, height_, pixels_.get(), skip); !converted.ok())
      return converted;
    ShownFrame shown;
    shown.shape = {width_, height_, 1, channels};
    shown.pixels = pixels_.get() + stride * skip;
    shown.stride = stride;
    return shown;
  }

 private:
  AvifReader reader_;
  Timeline timeline_;
  std::uint32_t width_ = 0;
  std::uint32_t height_ = 0;
  Bytes pixels_;
};

}  // namespace

OpenedAnimation open_avif_sequence(std::span<const std::uint8_t> data, const MediaInfo& info,
                                   const MediaLimits& limits) {
  auto reader = AvifReader::open(data, limits);
  if (!reader.ok()) return reader.status();
  auto sequence = std::make_unique<AvifSequence>(std::move(reader).value());
  if (Status status = sequence->open(info, limits); !status.ok()) return status;
  return std::unique_ptr<AnimationReader>(std::move(sequence));
}

}  // namespace floodgate
