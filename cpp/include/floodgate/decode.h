// Encoded pictures in, rows of pixels out.
//
// decode() runs the codec library and pushes rows into a RowSink as they come, from the first to the last, so
// that nobody holds a whole picture who need not. Rows are as stored: their sink turns them upright and
// composites alpha. Nothing is kept of the input. Thread rule: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "floodgate/media.h"
#include "floodgate/status.h"

namespace floodgate {

// What the rows of one picture or frame have in common.
struct FrameShape {
  std::uint32_t width = 0;  // of the rows that will come, px; a scaled decode makes them smaller than stored
  std::uint32_t height = 0;
  std::uint8_t orientation = 1;  // EXIF 1..8: how to turn the rows upright
  std::uint8_t channels = 3;     // bytes a pixel: 3 RGB, or 4 RGBA with straight alpha
  // Sample aspect ratio: an upright pixel is shown (before orientation) par_x wide and par_y high.
  std::uint32_t par_x = 1;
  std::uint32_t par_y = 1;
  // EXIF 1..8: how to turn the rows for them to be as stored, where the decoder turned them upright.
  std::uint8_t undo = 1;

  bool operator==(const FrameShape&) const = default;
};

// Region of interest: the pixels [left, right) x [top, bottom) of the rows that come.
struct Roi {
  std::uint32_t left = 0;
  std::uint32_t top = 0;
  std::uint32_t right = UINT32_MAX;  // may lie beyond the picture
  std::uint32_t bottom = UINT32_MAX;

  bool operator==(const Roi&) const = default;
};

// Takes the rows of one picture. begin() comes once, before any row; then rows() until all of `height` came,
// top to bottom, without gaps. After a failure the rest never comes.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual Status begin(const FrameShape& shape) = 0;
  // Rows y .. y + count - 1, each `channels * width` bytes, `stride` bytes apart. Valid until it returns;
  // strips of 8 to 16 rows suit the sinks here best. Neither throws nor fails.
  virtual void rows(std::uint32_t y, std::uint32_t count, const std::uint8_t* pixels, std::size_t stride) = 0;
  // What is looked at of the picture that begin() was told of: other pixels may come as anything, so that a
  // decoder need not make them. Asked after begin().
  [[nodiscard]] virtual Roi roi() const { return {}; }
};

struct DecodeOptions {
  // 0: decode at full size (`exact` views). Else a JPEG is decoded at the smallest of the scales 1, 1/2, 1/4,
  // 1/8 that leaves both sides at least this many px, exactly as Pillow's draft((decode_min, decode_min))
  // does.
  std::uint32_t decode_min = 0;

  bool operator==(const DecodeOptions&) const = default;
};

// Decodes what probe() described; of an animation or APNG, what Pillow shows first. RGB equals Pillow's for
// opaque 8-bit input. 16-bit samples keep their high byte. Errors: kInvalidContent (corrupt, truncated, not
// what probe() saw), kUnsupported (a video is none of its business), kTooLarge, kOverloaded (no memory), and
// whatever the sink's begin() says.
Status decode(std::span<const std::uint8_t> data, const MediaInfo& info, const MediaLimits& limits,
              const DecodeOptions& options, RowSink& sink);

// Interleaved RGB, 8 bits a channel, rows packed (stride = 3 * width).
struct Picture {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::unique_ptr<std::uint8_t[]> rgb;  // 3 * width * height bytes

  [[nodiscard]] std::size_t bytes() const { return std::size_t{3} * width * height; }
};

// Holds all rows that are pushed into it: an upright picture with alpha composited on white. For tests and
// tools; the server streams.
class PictureSink final : public RowSink {
 public:
  Status begin(const FrameShape& shape) override;
  void rows(std::uint32_t y, std::uint32_t count, const std::uint8_t* pixels, std::size_t stride) override;
  // Turns what came upright. Errors: kOverloaded (no memory), kInternal (rows are missing).
  Result<Picture> take();

 private:
  FrameShape shape_;
  std::uint32_t next_ = 0;
  Picture picture_;
};

// decode() into a PictureSink.
Result<Picture> decode_picture(std::span<const std::uint8_t> data, const MediaInfo& info,
                               const MediaLimits& limits, const DecodeOptions& options = {});

}  // namespace floodgate
