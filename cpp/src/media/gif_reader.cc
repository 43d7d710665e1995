#include "gif_reader.h"

#include <gif_lib.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "pixels.h"

namespace floodgate {
namespace {

// A GIF of one frame: header, screen and image descriptor of our making, then the frame's sub-blocks as they
// are, then their end.
class FrameStream {
 public:
  FrameStream(std::span<const std::uint8_t> data, const GifFrame& frame)
      : blocks_(data.subspan(frame.data_at, frame.data_end - frame.data_at)) {
    constexpr std::array<std::uint8_t, 6> kMagic = {'G', 'I', 'F', '8', '9', 'a'};
    std::copy(kMagic.begin(), kMagic.end(), prefix_.begin());
    put(6, frame.width);
    put(8, frame.height);
    prefix_[13] = ',';
    put(18, frame.width);
    put(20, frame.height);
    prefix_[22] = frame.interlaced ? 0x40 : 0;
  }

  int read(std::uint8_t* to, int bytes) {
    int given = 0;
    while (given < bytes) {
      const std::span<const std::uint8_t> source =
          at_ < prefix_.size() ? std::span<const std::uint8_t>(prefix_) : blocks_;
      const std::size_t at = at_ < prefix_.size() ? at_ : at_ - prefix_.size();
      if (at >= source.size()) break;
      const std::size_t count = std::min(source.size() - at, static_cast<std::size_t>(bytes - given));
      std::memcpy(to + given, source.data() + at, count);
      given += static_cast<int>(count);
      at_ += count;
    }
    if (given < bytes) {  // the end of the sub-blocks
      std::memset(to + given, 0, static_cast<std::size_t>(bytes - given));
    }
    return bytes;
  }

 private:
  void put(std::size_t at, std::uint32_t value) {
    prefix_[at] = static_cast<std::uint8_t>(value);
    prefix_[at + 1] = static_cast<std::uint8_t>(value >> 8);
  }

  std::array<std::uint8_t, 23> prefix_{};
  const std::span<const std::uint8_t> blocks_;
  std::size_t at_ = 0;
};

struct CloseGif {
  void operator()(GifFileType* file) const {
    int error = 0;
    DGifCloseFile(file, &error);
  }
};

Status failure(int error, bool complete) {
  if (error == D_GIF_ERR_NOT_ENOUGH_MEM) {
    return {Code::kOverloaded, "there is no memory to decode the GIF picture"};
  }
  if (!complete || error == D_GIF_ERR_EOF_TOO_SOON) {
    return {Code::kInvalidContent, "the GIF picture is truncated: its data ends before its last row"};
  }
  const char* const text = GifErrorString(error);
  return {Code::kInvalidContent,
          std::string("the GIF picture is corrupt: ") + (text != nullptr ? text : "unknown error")};
}

}  // namespace

GifColors gif_colors(std::span<const std::uint8_t> data, const GifFrame& frame) {
  GifColors colors;
  for (std::size_t i = 0; i < colors.size(); ++i) {
    const auto grey = static_cast<std::uint8_t>(i);
    colors[i] = frame.palette.entries > 0 ? std::array<std::uint8_t, 4>{0, 0, 0, 255}
                                          : std::array<std::uint8_t, 4>{grey, grey, grey, 255};
    const std::size_t at = frame.palette.at + 3 * i;
    if (i < frame.palette.entries && at + 3 <= data.size()) {
      colors[i] = {data[at], data[at + 1], data[at + 2], 255};
    }
  }
  if (frame.transparent >= 0) colors[static_cast<std::size_t>(frame.transparent)][3] = 0;
  return colors;
}

Status read_gif_frame(std::span<const std::uint8_t> data, const GifFrame& frame,
                      const std::function<void(std::uint32_t y, const std::uint8_t* indices)>& line) {
  if (frame.width == 0 || frame.height == 0) return {};
  FrameStream stream(data, frame);
  int error = 0;
  const std::unique_ptr<GifFileType, CloseGif> file(DGifOpen(
      &stream,
      [](GifFileType* gif, GifByteType* to, int bytes) {
        return static_cast<FrameStream*>(gif->UserData)->read(to, bytes);
      },
      &error));
  if (!file) return failure(error, frame.complete);
  GifRecordType record = UNDEFINED_RECORD_TYPE;
  if (DGifGetRecordType(file.get(), &record) != GIF_OK || DGifGetImageDesc(file.get()) != GIF_OK) {
    return failure(file->Error, frame.complete);
  }

  const std::size_t rows = frame.interlaced ? frame.height : 1;
  auto memory = allocate_bytes(rows * frame.width);
  if (!memory.ok()) return memory.status();
  std::uint8_t* const indices = memory.value().get();
  const auto read_line = [&](std::uint8_t* to) {
    return DGifGetLine(file.get(), to, static_cast<int>(frame.width)) == GIF_OK;
  };
  if (!frame.interlaced) {
    for (std::uint32_t y = 0; y < frame.height; ++y) {
      if (!read_line(indices)) return failure(file->Error, frame.complete);
      line(y, indices);
    }
    return {};
  }
  constexpr std::pair<std::uint32_t, std::uint32_t> kPasses[] = {{0, 8}, {4, 8}, {2, 4}, {1, 2}};
  for (const auto& [first, step] : kPasses) {
    for (std::uint32_t y = first; y < frame.height; y += step) {
      if (!read_line(indices + std::size_t{y} * frame.width)) return failure(file->Error, frame.complete);
    }
  }
  for (std::uint32_t y = 0; y < frame.height; ++y) line(y, indices + std::size_t{y} * frame.width);
  return {};
}

}  // namespace floodgate
