// The first frame of a GIF on its canvas. Around a frame that is smaller lies the transparent colour or, of a
// frame without one, colour 0, as Pillow shows it.
#include <algorithm>
#include <limits>

#include "decoder.h"
#include "gif_reader.h"
#include "strip.h"

namespace floodgate {

Status decode_gif(Encoded data, const MediaInfo& info, const MediaLimits& /*limits*/,
                  const DecodeOptions& /*options*/, RowSink& sink) {
  HeaderReader reader(data, std::numeric_limits<std::size_t>::max());
  GifWalk walk(reader);
  const auto screen = walk.screen();
  const auto frame = screen ? walk.next() : std::nullopt;
  if (!frame) return reader.failure("GIF");
  const std::uint32_t width = std::max(screen->width, frame->left + frame->width);
  const std::uint32_t height = std::max(screen->height, frame->top + frame->height);
  if (width != info.width || height != info.height) return header_mismatch(info.format);

  const GifColors colors = gif_colors(data, *frame);
  const std::uint8_t channels = frame->transparent >= 0 ? 4 : 3;
  const auto& around = colors[static_cast<std::size_t>(std::max(0, frame->transparent))];
  StripWriter strip(sink);
  if (Status begun = strip.begin({width, height, info.orientation, channels}); !begun.ok()) return begun;
  const auto fill = [&](std::uint8_t* to, std::uint32_t pixels) {
    for (std::uint32_t x = 0; x < pixels; ++x) to = std::copy_n(around.begin(), channels, to);
    return to;
  };
  const auto fill_rows = [&](std::uint32_t rows) {
    for (std::uint32_t y = 0; y < rows; ++y) {
      fill(strip.row(), width);
      strip.done();
    }
  };
  fill_rows(frame->width > 0 ? frame->top : height);
  if (frame->width == 0) return {};
  Status status = read_gif_frame(data, *frame, [&](std::uint32_t, const std::uint8_t* indices) {
    std::uint8_t* to = fill(strip.row(), frame->left);
    for (std::uint32_t x = 0; x < frame->width; ++x) {
      to = std::copy_n(colors[indices[x]].begin(), channels, to);
    }
    fill(to, width - frame->left - frame->width);
    strip.done();
  });
  if (!status.ok()) return status;
  fill_rows(height - frame->top - frame->height);
  return {};
}

}  // namespace floodgate
