// Rows that a codec gives one at a time, handed to a RowSink in strips of 16.
//
// A decoder writes into row() and says done(); the strip goes to the sink when it is full and after the last
// row. Owns one strip. Thread rule: one writer, one thread. Refused: more rows than begin() announced.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "floodgate/decode.h"
#include "pixels.h"

namespace floodgate {

inline constexpr std::uint32_t kStripRows = 16;

class StripWriter {
 public:
  explicit StripWriter(RowSink& sink) : sink_(sink) {}

  // Errors: kOverloaded (no memory for the strip), and what the sink's begin() says.
  Status begin(const FrameShape& shape) {
    stride_ = std::size_t{shape.channels} * shape.width;
    height_ = shape.height;
    // Zeroed: a codec that leaves a row unwritten must not show what was in memory before.
    auto memory = allocate_zeroed(stride_ * std::min(kStripRows, shape.height));
    if (!memory.ok()) return memory.status();
    strip_ = std::move(memory).value();
    return sink_.begin(shape);
  }

  // Where the next row goes: channels * width bytes.
  [[nodiscard]] std::uint8_t* row() { return strip_.get() + stride_ * filled_; }
  void done() {
    if (++filled_ == kStripRows || at_ + filled_ == height_) {
      sink_.rows(at_, filled_, strip_.get(), stride_);
      at_ += filled_;
      filled_ = 0;
    }
  }

 private:
  RowSink& sink_;
  Bytes strip_;
  std::size_t stride_ = 0;
  std::uint32_t height_ = 0;
  std::uint32_t at_ = 0;      // rows that the sink has
  std::uint32_t filled_ = 0;  // rows in the strip
};

// Rows first .. first + count - 1 of a picture, that lie in memory at `pixels`, to a sink in strips.
inline void push_rows(RowSink& sink, std::uint32_t first, std::uint32_t count, const std::uint8_t* pixels,
                      std::size_t stride) {
  for (std::uint32_t y = 0; y < count; y += kStripRows) {
    sink.rows(first + y, std::min(kStripRows, count - y), pixels + stride * y, stride);
  }
}

}  // namespace floodgate
