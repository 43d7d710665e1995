// What every decoder must do whatever its input is: begin once, push every row once and in order, leave no
// row out when it says that all went well. Reads every pixel that is looked at, so that a sanitizer sees what
// was not written.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "floodgate/decode.h"
#include "floodgate/media.h"

namespace floodgate::fuzzing {

// Small, so that an input takes milliseconds.
inline constexpr MediaLimits kSmall = {.max_bytes = 1 << 20,
                                       .max_video_bytes = 1 << 20,
                                       .max_pixels = 1 << 18,
                                       .max_side_px = 4096,
                                       .max_animation_frames = 64,
                                       .max_scans = 20,
                                       .max_coefficient_bytes = 4 << 20};

inline void require(bool held) {
  if (!held) std::abort();
}

class CheckedSink final : public RowSink {
 public:
  // `told`: whether the decoder is told what is looked at.
  explicit CheckedSink(const Roi& looked_at = {}, bool told = true) : looked_at_(looked_at), told_(told) {}

  Status begin(const FrameShape& shape) override {
    require(shape.width > 0 && shape.height > 0);
    require(std::uint64_t{shape.width} * shape.height <= kSmall.max_pixels);
    require(shape.orientation >= 1 && shape.orientation <= 8);
    require(shape.channels == 3 || shape.channels == 4);
    require(!begun_);
    begun_ = true;
    shape_ = shape;
    return {};
  }
  void rows(std::uint32_t y, std::uint32_t count, const std::uint8_t* pixels, std::size_t stride) override {
    require(begun_ && y == next_ && count > 0 && count <= shape_.height - y);
    require(stride >= std::size_t{shape_.channels} * shape_.width);
    const std::size_t begin = std::size_t{shape_.channels} * std::min(looked_at_.left, shape_.width);
    const std::size_t end = std::size_t{shape_.channels} * std::min(looked_at_.right, shape_.width);
    for (std::uint32_t i = 0; i < count; ++i) {
      if (y + i < looked_at_.top || y + i >= looked_at_.bottom) continue;
      for (std::size_t x = begin; x < end; ++x) sum_ = 31 * sum_ + pixels[stride * i + x];
    }
    if (sum_ == 0x5EED) std::abort();  // reads of uninitialised memory become a branch on them
    next_ = y + count;
  }
  [[nodiscard]] Roi roi() const override { return told_ ? looked_at_ : Roi{}; }
  [[nodiscard]] bool complete() const { return begun_ && next_ == shape_.height; }
  // Of the pixels that were looked at.
  [[nodiscard]] std::uint64_t sum() const { return sum_; }

 private:
  const Roi looked_at_;
  const bool told_;
  FrameShape shape_;
  bool begun_ = false;
  std::uint32_t next_ = 0;
  std::uint64_t sum_ = std::uint64_t{1} << 40;
};

// Decodes what is of `format`.
inline int decode_if(Format format, const std::uint8_t* data, std::size_t size) {
  const std::span<const std::uint8_t> input(data, size);
  const auto info = probe(input, kSmall);
  if (!info.ok() || info.value().format != format) return 0;
  CheckedSink sink;
  const Status status = decode(input, info.value(), kSmall, {}, sink);
  if (status.ok()) {
    require(sink.complete());
  } else {
    require(!status.message().empty());
  }
  return 0;
}

}  // namespace floodgate::fuzzing
