#include "gif_blocks.h"

namespace floodgate {
namespace {

constexpr std::uint32_t kExtension = 0x21;
constexpr std::uint32_t kImage = 0x2C;
constexpr std::uint32_t kTrailer = 0x3B;
constexpr std::uint32_t kGraphicControl = 0xF9;
constexpr std::size_t kScreenBytes = 13;

std::uint32_t palette_entries(std::uint32_t flags) { return (flags & 0x80) != 0 ? 2U << (flags & 7) : 0; }

}  // namespace

std::optional<GifScreen> GifWalk::screen() {
  const auto width = reader_.le16(6);
  const auto height = reader_.le16(8);
  const auto flags = reader_.u8(10);
  const auto background = reader_.u8(11);
  if (!width || !height || !flags || !background) return std::nullopt;
  screen_ = {*width, *height, *background, {kScreenBytes, palette_entries(*flags)}};
  at_ = kScreenBytes + std::size_t{3} * screen_.palette.entries;
  return screen_;
}

// Past the sub-blocks at at_; false where data or budget ends first, with at_ behind the last whole one.
bool GifWalk::skip_blocks() {
  for (;;) {
    const auto length = reader_.u8(at_);
    if (!length || *length > reader_.size() - at_ - 1) return false;
    at_ += 1 + std::size_t{*length};
    if (*length == 0) return true;
  }
}

bool GifWalk::read_extension(GifFrame& frame) {
  const auto label = reader_.u8(at_);
  if (!label) return false;
  const std::size_t body = at_ + 1;
  ++at_;
  if (*label == kGraphicControl && reader_.u8(body).value_or(0) >= 4) {
    const auto flags = reader_.u8(body + 1);
    const auto delay = reader_.le16(body + 2);
    const auto transparent = reader_.u8(body + 4);
    if (!flags || !delay || !transparent) return false;
    if ((*flags & 1) != 0) frame.transparent = static_cast<int>(*transparent);
    if (const std::uint32_t disposal = *flags >> 2 & 7; disposal != 0) frame.disposal = disposal;
    frame.delay_ms = std::uint64_t{*delay} * 10;
  }
  return skip_blocks();
}

bool GifWalk::read_image(GifFrame& frame) {
  const auto left = reader_.le16(at_);
  const auto top = reader_.le16(at_ + 2);
  const auto width = reader_.le16(at_ + 4);
  const auto height = reader_.le16(at_ + 6);
  const auto flags = reader_.u8(at_ + 8);
  if (!left || !top || !width || !height || !flags) return false;
  frame.left = *left;
  frame.top = *top;
  frame.width = *width;
  frame.height = *height;
  frame.interlaced = (*flags & 0x40) != 0;
  at_ += 9;
  const std::uint32_t entries = palette_entries(*flags);
  frame.palette = entries > 0 ? GifPalette{at_, entries} : screen_.palette;
  at_ += std::size_t{3} * entries;
  if (at_ >= reader_.size()) return false;  // not even a code size
  frame.data_at = at_++;
  frame.complete = skip_blocks();
  frame.data_end = at_;
  return true;
}

std::optional<GifFrame> GifWalk::next() {
  GifFrame frame;
  while (!ended_) {
    const auto block = reader_.u8(at_);
    if (!block) return std::nullopt;
    ++at_;
    if (*block == kTrailer) {
      ended_ = true;
    } else if (*block == kExtension) {
      if (!read_extension(frame)) return std::nullopt;
    } else if (*block == kImage) {
      if (!read_image(frame)) return std::nullopt;
      return frame;
    }
  }
  return std::nullopt;
}

}  // namespace floodgate
