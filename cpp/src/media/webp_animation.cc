// Animated WebP (RFC 9649): libwebp composes. It takes only whole files, so one that is cut short is copied
// up to its last whole chunk, with a container that says so.
#include <webp/demux.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string_view>
#include <utility>

#include "animation.h"
#include "decoder.h"
#include "delay.h"
#include "header_reader.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;

constexpr std::size_t kFirstChunk = 12;

struct DeleteDecoder {
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};

Status corrupt() { return {Code::kInvalidContent, "the WebP animation is corrupt or truncated"}; }

class WebpAnimation final : public AnimationReader {
 public:
  explicit WebpAnimation(std::span<const std::uint8_t> data) : data_(data) {}

  Status open(const MediaInfo& info, const MediaLimits& limits) {
    const std::size_t whole = read_frames();
    if (timeline_.starts_us.empty()) return corrupt();
    if (Status status = check_timeline(timeline_, limits); !status.ok()) return status;
    if ((timeline_.notes & kNoteTruncated) != 0) {
      repaired_.assign(data_.begin(), data_.begin() + static_cast<std::ptrdiff_t>(whole));
      for (std::size_t i = 0; i < 4; ++i)
        repaired_[4 + i] = static_cast<std::uint8_t>((whole - 8) >> (8 * i));
      data_ = repaired_;
    }
    const WebPData encoded = {data_.data(), data_.size()};
    decoder_.reset(WebPAnimDecoderNew(&encoded, nullptr));
    if (!decoder_) return corrupt();
    WebPAnimInfo animation;
    if (WebPAnimDecoderGetInfo(decoder_.get(), &animation) == 0) return corrupt();
    if (animation.canvas_width != info.width || animation.canvas_height != info.height) {
      return header_mismatch(Format::kWebp);
    }
    width_ = info.width;
    height_ = info.height;
    return {};
  }

  [[nodiscard]] const Timeline& timeline() const override { return timeline_; }
  [[nodiscard]] const char* codec() const override { return "webp"; }

  Result<ShownFrame> show(std::uint32_t index) override {
    for (; next_ <= index; ++next_) {
      int end_ms = 0;
      if (WebPAnimDecoderGetNext(decoder_.get(), &canvas_, &end_ms) == 0) return corrupt();
    }
    ShownFrame shown;
    shown.shape = {width_, height_, 1, 4};
    shown.pixels = canvas_;
    shown.stride = std::size_t{4} * width_;
    return shown;
  }

 private:
  // Fills the timeline; returns where the last whole chunk ends.
  std::size_t read_frames() {
    HeaderReader reader(data_, std::numeric_limits<std::size_t>::max());
    const std::size_t declared = std::size_t{reader.le32(4).value_or(0)} + 8;
    const std::size_t end = std::min(declared, data_.size());
    std::size_t at = kFirstChunk;
    while (at < end && end - at >= 8) {
      const std::size_t length = reader.le32(at + 4).value_or(0);
      if (length > end - at - 8) break;
      if (reader.matches(at, "ANMF"sv)) {
        timeline_.add(std::int64_t{shown_delay_ms(reader.le24(at + 20).value_or(0))} * 1000);
      }
      const std::size_t step = 8 + length + (length & 1);
      if (step > end - at) break;
      at += step;
    }
    if (declared > data_.size()) timeline_.notes |= kNoteTruncated;
    return at;
  }

  std::span<const std::uint8_t> data_;
  std::vector<std::uint8_t> repaired_;
  std::unique_ptr<WebPAnimDecoder, DeleteDecoder> decoder_;
  Timeline timeline_;
  std::uint32_t width_ = 0;
  std::uint32_t height_ = 0;
  std::uint8_t* canvas_ = nullptr;
  std::uint32_t next_ = 0;
};

}  // namespace

OpenedAnimation open_webp_animation(std::span<const std::uint8_t> data, const MediaInfo& info,
                                    const MediaLimits& limits) {
  auto animation = std::make_unique<WebpAnimation>(data);
  if (Status status = animation->open(info, limits); !status.ok()) return status;
  return std::unique_ptr<AnimationReader>(std::move(animation));
}

}  // namespace floodgate
