#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "frame_finder.h"
#include "frame_sources.h"
#include "sampling.h"
#include "video_container.h"
#include "video_decoder.h"
#include "video_index.h"
#include "video_pixels.h"

namespace floodgate {
namespace {

class VideoSource final : public FrameSource {
 public:
  VideoSource(std::unique_ptr<VideoContainer> container, std::unique_ptr<VideoDecoder> decoder,
              VideoIndex index, const MediaLimits& limits)
      : container_(std::move(container)),
        decoder_(std::move(decoder)),
        index_(std::move(index)),
        limits_(limits),
        finder_(*container_, *decoder_, index_),
        pixels_(look_of(*container_->stream())) {}

  Status start(const SamplingPlan& plan, const FrameCursor& cursor);
  Result<FrameStep> next(FrameCursor& cursor, RowSink& sink) override;
  [[nodiscard]] const SequenceFacts& facts() const override { return facts_; }

 private:
  bool find(std::uint32_t planned);
  Result<FrameStep> show(FrameCursor& cursor, std::int64_t time_us, RowSink& sink);

  const std::unique_ptr<VideoContainer> container_;
  const std::unique_ptr<VideoDecoder> decoder_;
  const VideoIndex index_;
  const MediaLimits limits_;
  FrameFinder finder_;
  FramePixels pixels_;
  std::vector<PlannedFrame> planned_;  // times counted from index_.first_us
  std::int64_t origin_us_ = 0;         // the first frame shown
  bool first_is_found_ = false;        // and the finder still holds it
  SequenceFacts facts_;
};

// The size on a screen with square pixels.
void set_shown_size(SequenceFacts& facts, const FrameShape& shape) {
  const auto stretched = [](std::uint32_t side, std::uint32_t by, std::uint32_t over) {
    const std::uint64_t to = (std::uint64_t{side} * by + over / 2) / over;
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(to, std::numeric_limits<std::uint32_t>::max()));
  };
  facts.width = shape.par_x > shape.par_y ? stretched(shape.width, shape.par_x, shape.par_y) : shape.width;
  facts.height = shape.par_y > shape.par_x ? stretched(shape.height, shape.par_y, shape.par_x) : shape.height;
  if (shape.orientation >= 5) std::swap(facts.width, facts.height);
}

Status VideoSource::start(const SamplingPlan& plan, const FrameCursor& cursor) {
  facts_.notes = index_.notes;
  const char* const codec = avcodec_get_name(container_->codec()->id);
  std::strncpy(facts_.codec, codec, sizeof facts_.codec - 1);

  std::vector<std::int64_t> keys;
  for (const KeyPoint& key : index_.keys) {
    if (key.shown && key.time_us >= index_.first_us) keys.push_back(key.time_us - index_.first_us);
  }
  SamplingPlan bounded = plan;
  bounded.max_frames = std::clamp<std::uint32_t>(plan.max_frames, 1, kMaxPlannedFrames);
  planned_ = plan_frames(keys, 0, index_.last_us - index_.first_us, bounded);
  facts_.planned = static_cast<std::uint32_t>(planned_.size());

  if (!find(0)) {
    const bool cut = (facts_.notes & kNoteTruncated) != 0;
    return {Code::kInvalidContent, std::string("no frame of the video (") + codec + ") can be decoded" +
                                       (cut ? ": its data ends early" : "")};
  }
  origin_us_ = finder_.time_us();
  first_is_found_ = cursor.next == 0;
  if (Status status = FramePixels::check(finder_.frame(), limits_); !status.ok()) return status;
  set_shown_size(facts_, pixels_.shape(finder_.frame()));
  facts_.duration_ms = std::max<std::int64_t>(0, index_.end_us - origin_us_ + 500) / 1000;
  return {};
}

bool VideoSource::find(std::uint32_t planned) {
  const std::size_t count = planned_.size();
  const auto time_of = [&](std::size_t at) {
    return at > 0 && at + 1 == count ? kLastFrame : index_.first_us + planned_[at].time_us;
  };
  const bool key_alone = planned > 0 && planned_[planned].key;
  return finder_.find(time_of(planned), key_alone, planned + 1 < count ? time_of(planned + 1) : kLastFrame);
}

Result<FrameStep> VideoSource::next(FrameCursor& cursor, RowSink& sink) {
  while (cursor.next < planned_.size()) {
    const std::uint32_t planned = cursor.next++;
    const bool have = std::exchange(first_is_found_, false) && planned == 0;
    const bool found = have || find(planned);
    if (finder_.out_of_order()) facts_.notes |= kNoteOutOfOrder;
    const bool lost = finder_.missed() && (decoder_->shows_every_packet() || decoder_->failed());
    if (lost && !is_partial(facts_.notes)) facts_.notes |= kNoteDamaged;
    if (!found) {
      facts_.notes |= kNoteDamaged;
      continue;
    }
    const std::int64_t time_us = std::max<std::int64_t>(0, finder_.time_us() - origin_us_);
    if (time_us <= cursor.last_time_us) {
      // The frame before is still shown, or what should have come after it could not be decoded.
      if (decoder_->failed()) facts_.notes |= kNoteDamaged;
      continue;
    }
    if (!FramePixels::check(finder_.frame(), limits_).ok()) {
      facts_.notes |= kNoteDamaged;
      continue;
    }
    auto shown = show(cursor, time_us, sink);
    if (shown.ok()) return shown;
    const Code code = shown.status().code();
    const bool content =
        code == Code::kInvalidContent || code == Code::kUnsupported || code == Code::kTooLarge;
    if (!content || cursor.decoded == 0) return shown;
    facts_.notes |= kNoteDamaged;
  }
  if (cursor.decoded == 0) return Status(Code::kInvalidContent, "no frame of the video can be decoded");
  return FrameStep{StepKind::kEnd, 0};
}

Result<FrameStep> VideoSource::show(FrameCursor& cursor, std::int64_t time_us, RowSink& sink) {
  const AVFrame& frame = finder_.frame();
  SequenceFacts size;
  set_shown_size(size, pixels_.shape(frame));
  if (size.width != facts_.width || size.height != facts_.height) facts_.notes |= kNoteSizeChanges;

  const auto signature = pixels_.signature(frame);
  if (!signature.ok()) return signature.status();
  FrameStep step{StepKind::kFrame, (time_us + 500) / 1000};
  if (cursor.has_signature && similar(signature.value(), cursor.signature)) {
    step.kind = StepKind::kSimilar;
  } else {
    if (FramePixels::is_hdr(frame)) facts_.notes |= kNoteToneMapped;
    if (Status pushed = pixels_.push(frame, sink); !pushed.ok()) return pushed;
    cursor.has_signature = true;
    cursor.signature = signature.value();
  }
  cursor.last_time_us = time_us;
  ++cursor.decoded;
  return step;
}

}  // namespace

Result<std::unique_ptr<FrameSource>> open_video(std::span<const std::uint8_t> data, const MediaInfo& info,
                                                const MediaLimits& limits, const SamplingPlan& plan,
                                                const FrameCursor& cursor) {
  if (data.empty()) return Status(Code::kInvalidContent, "the data is empty");
  if (data.size() > limits.max_video_bytes) {
    return Status(Code::kTooLarge, "the video has " + std::to_string(data.size()) +
                                       " bytes; the limit (max_video_bytes) is " +
                                       std::to_string(limits.max_video_bytes));
  }
  auto container = VideoContainer::open(data, info.format);
  if (!container.ok()) return container.status();
  auto index = read_index(*container.value(), limits);
  if (!index.ok()) return index.status();
  auto decoder = VideoDecoder::open(*container.value(), limits);
  if (!decoder.ok()) return decoder.status();
  std::unique_ptr<VideoSource> source(new (std::nothrow) VideoSource(
      std::move(container).value(), std::move(decoder).value(), std::move(index).value(), limits));
  if (!source) return Status(Code::kOverloaded, "there is no memory for reading the video");
  if (Status started = source->start(plan, cursor); !started.ok()) return started;
  return std::unique_ptr<FrameSource>(std::move(source));
}

}  // namespace floodgate
