// The blocks of a GIF (GIF89a specification): its screen, then one frame after another.
//
// Bytes that begin no block are skipped, as Pillow skips them. What is read counts against the HeaderReader's
// budget, so the probe sees only the beginning of a long animation. Borrows the reader. Thread rule: one
// walk, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "header_reader.h"

namespace floodgate {

struct GifPalette {
  std::size_t at = 0;         // of the first red
  std::uint32_t entries = 0;  // 0: none, so that an index is a grey
};

struct GifScreen {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::uint32_t background = 0;  // index
  GifPalette palette;
};

struct GifFrame {
  std::uint32_t left = 0;
  std::uint32_t top = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  bool interlaced = false;
  GifPalette palette;          // its own, else the screen's
  int transparent = -1;        // index; -1: none
  std::uint32_t disposal = 0;  // 0 unspecified, 1 keep, 2 background, 3 previous
  std::uint64_t delay_ms = 0;  // as stored
  std::size_t data_at = 0;     // of the code size, which sub-blocks follow
  std::size_t data_end = 0;    // past the last sub-block that is whole
  bool complete = false;       // the sub-blocks end as they should
};

class GifWalk {
 public:
  explicit GifWalk(HeaderReader& reader) : reader_(reader) {}

  // To be called once, before next(). Nothing: the data ends before.
  std::optional<GifScreen> screen();
  // The next frame; nothing at the end.
  std::optional<GifFrame> next();
  // Whether the trailer was there.
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  bool skip_blocks();
  bool read_extension(GifFrame& frame);
  bool read_image(GifFrame& frame);

  HeaderReader& reader_;
  GifScreen screen_;
  std::size_t at_ = 0;
  bool ended_ = false;
};

}  // namespace floodgate
