// APNG (PNG third edition, 4.4 and 11.3.6): frames put on a canvas that starts out clear.
//
// Two things differ from Pillow, which the standard contradicts: the canvas is cleared to transparent even
// where the picture has no alpha, and translucent pixels blended over opaque ones stay opaque. A picture in
// IDAT that is no frame of the animation is what other viewers show: it is shown first, for 100 ms.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "animation.h"
#include "canvas.h"
#include "decoder.h"
#include "delay.h"
#include "png_chunks.h"
#include "png_reader.h"

namespace floodgate {
namespace {

constexpr std::uint8_t kDisposeBackground = 1;
constexpr std::uint8_t kDisposePrevious = 2;
constexpr std::uint8_t kBlendOver = 1;
constexpr Rgba kClear = {0, 0, 0, 0};

struct ApngFrame {
  PngPixels pixels;
  Rect rect;
  std::uint32_t delay_ms = kShortDelayMs;
  std::uint8_t dispose = 0;
  std::uint8_t blend = 0;
};

// The rows of a decoded frame, put on a canvas.
class FrameOnCanvas final : public RowSink {
 public:
  FrameOnCanvas(Canvas& canvas, const ApngFrame& frame) : canvas_(canvas), frame_(frame) {}

  Status begin(const FrameShape& shape) override {
    channels_ = shape.channels;
    return {};
  }
  void rows(std::uint32_t y, std::uint32_t count, const std::uint8_t* pixels, std::size_t stride) override {
    const std::uint32_t width = frame_.rect.width;
    for (std::uint32_t i = 0; i < count; ++i, pixels += stride) {
      std::uint8_t* to = canvas_.row(frame_.rect.top + y + i) + std::size_t{4} * frame_.rect.left;
      if (channels_ == 3) {
        for (std::uint32_t x = 0; x < width; ++x, to += 4) {
          std::memcpy(to, pixels + std::size_t{3} * x, 3);
          to[3] = 255;
        }
      } else if (frame_.blend == kBlendOver) {
        blend_over(pixels, to, width);
      } else {
        std::memcpy(to, pixels, std::size_t{4} * width);
      }
    }
  }

 private:
  Canvas& canvas_;
  const ApngFrame& frame_;
  std::uint8_t channels_ = 4;
};

// A frame control chunk (11.3.6.2); nothing when its rectangle leaves the canvas.
std::optional<ApngFrame> read_control(std::span<const std::uint8_t> body, const PngPixels& main) {
  if (body.size() < 26) return std::nullopt;
  const std::uint8_t* const fields = body.data();
  ApngFrame frame;
  frame.rect = {read_be32(fields + 12), read_be32(fields + 16), read_be32(fields + 4), read_be32(fields + 8)};
  const Rect& rect = frame.rect;
  if (rect.width == 0 || rect.height == 0 || rect.left > main.width || rect.width > main.width - rect.left ||
      rect.top > main.height || rect.height > main.height - rect.top) {
    return std::nullopt;
  }
  const std::uint32_t delay = read_be16(fields + 20);
  const std::uint32_t parts = read_be16(fields + 22);
  frame.delay_ms = shown_delay_ms(std::uint64_t{delay} * 1000 / (parts == 0 ? 100 : parts));
  frame.dispose = fields[24];
  frame.blend = fields[25];
  frame.pixels.width = rect.width;
  frame.pixels.height = rect.height;
  return frame;
}

class PngAnimation final : public AnimationReader {
 public:
  PngAnimation(std::span<const std::uint8_t> data, PngReader reader)
      : data_(data), reader_(std::move(reader)) {}

  // Finds the frames whose pixels are all there.
  Status read_frames(const MediaLimits& limits) {
    const PngPixels& main = reader_.main();
    std::optional<ApngFrame> open;  // a frame whose pixels have not come, or not all
    bool ended = false;
    std::size_t at = kPngHeaderBytes;
    while (const auto chunk = png_chunk_at(data_, at)) {
      at = chunk->next;
      const bool pixels = chunk->type == chunk_type("IDAT") || chunk->type == chunk_type("fdAT");
      if (pixels && chunk->type == chunk_type("IDAT") && chunk->at == main.at && !open) {
        // No frame: what other viewers show.
        ApngFrame still;
        still.rect = {0, 0, main.width, main.height};
        still.pixels = main;
        still.dispose = kDisposeBackground;
        open = still;
      } else if (pixels && open && open->pixels.at == 0) {
        open->pixels.at = chunk->at;
        open->pixels.frame = chunk->type == chunk_type("fdAT");
      }
      if (chunk->cut) break;
      if (chunk->type == chunk_type("fcTL") || chunk->type == chunk_type("IEND")) {
        if (Status status = add(open, limits); !status.ok()) return status;
        ended = chunk->type == chunk_type("IEND");
        if (ended) break;
        open = read_control(chunk->body, main);
        if (!open) {
          timeline_.notes |= kNoteDamaged;
          break;
        }
      }
    }
    // A first picture that is cut short tells by itself what it lacks.
    if (!ended && (timeline_.notes & kNoteDamaged) == 0) {
      timeline_.notes |= kNoteTruncated;
      if (frames_.empty()) {
        if (Status status = add(open, limits); !status.ok()) return status;
      }
    }
    if (frames_.empty()) return {Code::kInvalidContent, "the animated PNG has no frame that can be read"};
    return {};
  }

  [[nodiscard]] const Timeline& timeline() const override { return timeline_; }
  [[nodiscard]] const char* codec() const override { return "apng"; }

  Result<ShownFrame> show(std::uint32_t index) override {
    if (next_ == 0) {
      const PngPixels& main = reader_.main();
      if (Status grown = canvas_.grow(main.width, main.height, kClear); !grown.ok()) return grown;
    }
    for (; next_ <= index; ++next_) {
      if (Status status = compose(next_); !status.ok()) return status;
    }
    ShownFrame shown;
    shown.shape = {canvas_.width(), canvas_.height(), 1, 4};
    shown.pixels = canvas_.pixels();
    shown.stride = canvas_.stride();
    return shown;
  }

 private:
  Status add(const std::optional<ApngFrame>& frame, const MediaLimits& limits) {
    if (!frame) return {};
    if (frame->pixels.at == 0) {  // a control without pixels
      timeline_.notes |= kNoteDamaged;
      return {};
    }
    frames_.push_back(*frame);
    timeline_.add(std::int64_t{frame->delay_ms} * 1000);
    return check_timeline(timeline_, limits);
  }

  Status compose(std::uint32_t index) {
    if (index > 0) {
      const ApngFrame& before = frames_[index - 1];
      if (before.dispose == kDisposePrevious && index > 1) {
        canvas_.restore();
      } else if (before.dispose != 0) {
        canvas_.fill(before.rect, kClear);  // nothing was there before the first frame
      }
    }
    const ApngFrame& frame = frames_[index];
    if (frame.dispose == kDisposePrevious && index > 0) {
      if (Status saved = canvas_.save(frame.rect); !saved.ok()) return saved;
    }
    FrameOnCanvas sink(canvas_, frame);
    return reader_.decode(frame.pixels, 1, sink);
  }

  const std::span<const std::uint8_t> data_;
  const PngReader reader_;
  std::vector<ApngFrame> frames_;
  Timeline timeline_;
  Canvas canvas_;
  std::uint32_t next_ = 0;
};

}  // namespace

OpenedAnimation open_apng(std::span<const std::uint8_t> data, const MediaInfo& info,
                          const MediaLimits& limits) {
  auto reader = PngReader::open(data);
  if (!reader.ok()) return reader.status();
  const PngPixels& main = reader.value().main();
  if (main.width != info.width || main.height != info.height) return header_mismatch(info.format);
  auto animation = std::make_unique<PngAnimation>(data, std::move(reader).value());
  if (Status status = animation->read_frames(limits); !status.ok()) return status;
  return std::unique_ptr<AnimationReader>(std::move(animation));
}

}  // namespace floodgate
