// GIF: the canvas is the logical screen or, where the first frame leaves it, large enough for that frame too,
// as Pillow shows it. Frames are counted exactly when the walk reaches the end within the budget.
#include <algorithm>
#include <cstdint>

#include "delay.h"
#include "gif_blocks.h"
#include "header.h"

namespace floodgate {

Result<MediaInfo> read_gif_header(HeaderReader& reader) {
  MediaInfo info;
  info.format = Format::kGif;
  GifWalk walk(reader);
  const auto screen = walk.screen();
  if (!screen) return reader.failure("GIF");
  std::uint32_t frames = 0;
  std::uint64_t duration_ms = 0;
  while (const auto frame = walk.next()) {
    if (frames == 0) {
      info.width = std::max(screen->width, frame->left + frame->width);
      info.height = std::max(screen->height, frame->top + frame->height);
      info.progressive = frame->interlaced;
    }
    info.has_alpha = info.has_alpha || frame->transparent >= 0;
    duration_ms += shown_delay_ms(frame->delay_ms);
    ++frames;
  }
  if (frames == 0) {
    if (walk.ended()) return Status(Code::kInvalidContent, "the GIF data has no picture");
    return reader.failure("GIF");
  }
  info.channels = info.has_alpha ? 4 : 3;
  // Where the budget ran out there may be more.
  info.frames = reader.exhausted() ? 0 : frames;
  if (info.frames > 1) {
    info.duration_ms = static_cast<std::uint32_t>(std::min<std::uint64_t>(duration_ms, 0xFFFFFFFF));
  }
  return info;
}

}  // namespace floodgate
