// Animated GIF: frames put on a canvas as Pillow puts them, oddities included: a frame without a disposal
// keeps the last one's, the canvas has alpha only if the first frame has a transparent colour, and grows with
// a frame that leaves it.
#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "animation.h"
#include "canvas.h"
#include "decoder.h"
#include "delay.h"
#include "gif_reader.h"
#include "header.h"

namespace floodgate {
namespace {

constexpr std::uint32_t kBackground = 2;
constexpr Rgba kClear = {0, 0, 0, 0};

class GifAnimation final : public AnimationReader {
 public:
  explicit GifAnimation(std::span<const std::uint8_t> data) : data_(data) {}

  // Finds the frames that are whole.
  Status read_frames(const MediaInfo& info, const MediaLimits& limits) {
    HeaderReader reader(data_, std::numeric_limits<std::size_t>::max());
    GifWalk walk(reader);
    const auto screen = walk.screen();
    if (!screen) return reader.failure("GIF");
    screen_ = *screen;
    MediaInfo canvas;
    canvas.width = screen_.width;
    canvas.height = screen_.height;
    while (const auto frame = walk.next()) {
      if (!frame->complete && !frames_.empty()) break;  // a first frame tells by itself what it lacks
      canvas.width = std::max(canvas.width, frame->left + frame->width);
      canvas.height = std::max(canvas.height, frame->top + frame->height);
      if (frames_.empty() && (canvas.width != info.width || canvas.height != info.height)) {
        return header_mismatch(Format::kGif);
      }
      frames_.push_back(*frame);
      timeline_.add(std::int64_t{shown_delay_ms(frame->delay_ms)} * 1000);
      if (Status status = check_timeline(timeline_, limits); !status.ok()) return status;
    }
    if (frames_.empty()) return reader.failure("GIF");
    if (!walk.ended()) timeline_.notes |= kNoteTruncated;
    if (canvas.width != info.width || canvas.height != info.height) timeline_.notes |= kNoteSizeChanges;
    return check_size(canvas, limits);
  }

  [[nodiscard]] const Timeline& timeline() const override { return timeline_; }
  [[nodiscard]] const char* codec() const override { return "gif"; }

  Result<ShownFrame> show(std::uint32_t index) override {
    for (; next_ <= index; ++next_) {
      if (Status status = compose(frames_[next_], next_ == 0); !status.ok()) return status;
    }
    ShownFrame shown;
    shown.shape = {canvas_.width(), canvas_.height(), 1, 4};
    shown.pixels = canvas_.pixels();
    shown.stride = canvas_.stride();
    return shown;
  }

 private:
  struct Disposal {
    Rect rect;
    std::optional<Rgba> color;  // nothing: what was saved
  };

  // Alpha is only kept by a canvas that has any.
  [[nodiscard]] Rgba on_canvas(Rgba color) const {
    if (!has_alpha_) color[3] = 255;
    return color;
  }

  Status compose(const GifFrame& frame, bool first) {
    const GifColors colors = gif_colors(data_, frame);
    const Rect rect = {frame.left, frame.top, frame.width, frame.height};
    if (disposal_) {
      if (disposal_->color) {
        canvas_.fill(disposal_->rect, *disposal_->color);
      } else {
        canvas_.restore();
      }
      disposal_.reset();
    }
    if (first) has_alpha_ = frame.transparent >= 0;
    // Around a frame that leaves the canvas: its transparent colour, else its colour 0.
    const Rgba around = frame.transparent >= 0 && !first
                            ? on_canvas(kClear)
                            : colors[static_cast<std::size_t>(std::max(0, frame.transparent))];
    const std::uint32_t width = std::max(first ? screen_.width : 0, frame.left + frame.width);
    const std::uint32_t height = std::max(first ? screen_.height : 0, frame.top + frame.height);
    if (Status grown = canvas_.grow(width, height, around); !grown.ok()) return grown;
    if (Status planned = plan_disposal(frame, colors, rect, first); !planned.ok()) return planned;
    return read_gif_frame(data_, frame, [&](std::uint32_t y, const std::uint8_t* indices) {
      std::uint8_t* to = canvas_.row(frame.top + y) + std::size_t{4} * frame.left;
      for (std::uint32_t x = 0; x < frame.width; ++x, to += 4) {
        if (first || indices[x] != frame.transparent) std::copy_n(colors[indices[x]].begin(), 4, to);
      }
    });
  }

  // What happens to the frame's rectangle before the next one.
  Status plan_disposal(const GifFrame& frame, const GifColors& colors, const Rect& rect, bool first) {
    if (frame.disposal != 0) method_ = frame.disposal;
    if (method_ < kBackground) return {};
    const bool background = method_ == kBackground;
    if (frame.transparent >= 0 && (background || first)) {
      disposal_ = {rect, on_canvas(colors[static_cast<std::size_t>(frame.transparent)])};
    } else if (background) {
      disposal_ = {rect, colors[screen_.palette.entries > 0 ? screen_.background : 0]};
    } else if (!first) {
      disposal_ = {rect, std::nullopt};
      return canvas_.save(rect);
    }
    return {};
  }

  const std::span<const std::uint8_t> data_;
  GifScreen screen_;
  std::vector<GifFrame> frames_;
  Timeline timeline_;
  Canvas canvas_;
  bool has_alpha_ = false;
  std::uint32_t method_ = 0;  // of disposal, as the last frame that named one said
  std::optional<Disposal> disposal_;
  std::uint32_t next_ = 0;
};

}  // namespace

OpenedAnimation open_gif(std::span<const std::uint8_t> data, const MediaInfo& info,
                         const MediaLimits& limits) {
  auto animation = std::make_unique<GifAnimation>(data);
  if (Status status = animation->read_frames(info, limits); !status.ok()) return status;
  return std::unique_ptr<AnimationReader>(std::move(animation));
}

}  // namespace floodgate
