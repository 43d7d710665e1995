#include "animation.h"

#include <algorithm>
#include <string>
#include <utility>

#include "frame_sources.h"
#include "header.h"
#include "sampling.h"
#include "signature.h"
#include "strip.h"

namespace floodgate {
namespace {

// Shows the planned frames of an AnimationReader and leaves out near copies.
class AnimationSource final : public FrameSource {
 public:
  AnimationSource(std::unique_ptr<AnimationReader> reader, const MediaInfo& info, const SamplingPlan& plan)
      : reader_(std::move(reader)), orientation_(info.orientation) {
    const Timeline& timeline = reader_->timeline();
    const auto& starts = timeline.starts_us;
    for (const PlannedFrame& planned : plan_frames(starts, starts.front(), starts.back(), plan)) {
      const auto after = std::ranges::upper_bound(starts, planned.time_us);
      const auto index = static_cast<std::uint32_t>(after - starts.begin() - 1);
      // Drawn times may fall on one frame.
      if (wanted_.empty() || wanted_.back() != index) wanted_.push_back(index);
    }
    const bool turned = info.orientation >= 5;
    facts_.width = turned ? info.height : info.width;
    facts_.height = turned ? info.width : info.height;
    facts_.duration_ms = timeline.end_us / 1000;
    facts_.planned = static_cast<std::uint32_t>(wanted_.size());
    facts_.notes = timeline.notes;
    const std::string_view codec = reader_->codec();
    codec.copy(facts_.codec, sizeof facts_.codec - 1);
  }

  Result<FrameStep> next(FrameCursor& cursor, RowSink& sink) override {
    if (broken_ || cursor.next >= wanted_.size()) return FrameStep{};
    const std::uint32_t index = wanted_[cursor.next];
    const auto shown = reader_->show(index);
    if (!shown.ok()) {
      broken_ = true;
      if (cursor.decoded == 0) return shown.status();
      facts_.notes |= kNoteDamaged;
      return FrameStep{};
    }
    ShownFrame frame = shown.value();
    frame.shape.orientation = orientation_;
    FrameStep step;
    step.time_ms = reader_->timeline().starts_us[index] / 1000;
    const FrameSignature signature = signature_of(frame);
    if (cursor.has_signature && similar(signature, cursor.signature)) {
      step.kind = StepKind::kSimilar;
    } else {
      step.kind = StepKind::kFrame;
      if (Status begun = sink.begin(frame.shape); !begun.ok()) return begun;
      push_rows(sink, 0, frame.shape.height, frame.pixels, frame.stride);
      cursor.has_signature = true;
      cursor.signature = signature;
    }
    ++cursor.next;
    ++cursor.decoded;
    cursor.last_time_us = reader_->timeline().starts_us[index];
    return step;
  }

  [[nodiscard]] const SequenceFacts& facts() const override { return facts_; }

 private:
  const std::unique_ptr<AnimationReader> reader_;
  const std::uint8_t orientation_;
  std::vector<std::uint32_t> wanted_;  // indices of the planned frames, ascending
  SequenceFacts facts_;
  bool broken_ = false;
};

}  // namespace

Status check_timeline(const Timeline& timeline, const MediaLimits& limits) {
  MediaInfo info;
  info.format = Format::kGif;
  info.frames = static_cast<std::uint32_t>(std::min<std::size_t>(timeline.starts_us.size(), 0xFFFFFFFF));
  info.duration_ms =
      static_cast<std::uint32_t>(std::clamp<std::int64_t>(timeline.end_us / 1000, 0, 0xFFFFFFFF));
  return check_length(info, limits);
}

Result<std::unique_ptr<FrameSource>> open_animation(std::span<const std::uint8_t> data, const MediaInfo& info,
                                                    const MediaLimits& limits, const SamplingPlan& plan,
                                                    const FrameCursor&) {
  if (Status status = check_size(info, limits); !status.ok()) return status;
  auto reader = [&]() -> OpenedAnimation {
    switch (info.format) {
      case Format::kGif:
        return open_gif(data, info, limits);
      case Format::kPng:
        return open_apng(data, info, limits);
      case Format::kWebp:
        return open_webp_animation(data, info, limits);
      case Format::kAvif:
        return open_avif_sequence(data, info, limits);
      default:
        return Status(Code::kUnsupported, "pictures of this format are not animated");
    }
  }();
  if (!reader.ok()) return reader.status();
  return std::unique_ptr<FrameSource>(
      std::make_unique<AnimationSource>(std::move(reader).value(), info, plan));
}

}  // namespace floodgate
