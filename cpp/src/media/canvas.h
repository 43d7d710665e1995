// The canvas that the frames of a GIF or an APNG are put on, RGBA with straight alpha.
//
// Owns its pixels and at most one saved rectangle. Every rectangle is cut to the canvas. Thread rule: one
// canvas, one thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "floodgate/decode.h"
#include "pixels.h"

namespace floodgate {

struct Rect {
  std::uint32_t left = 0;
  std::uint32_t top = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
};

using Rgba = std::array<std::uint8_t, 4>;

class Canvas {
 public:
  // Makes the canvas at least so large; what is new is `fill`. Errors: kOverloaded.
  Status grow(std::uint32_t width, std::uint32_t height, const Rgba& fill);

  void fill(const Rect& rect, const Rgba& color);
  // Keeps what `rect` shows for restore(). Errors: kOverloaded.
  Status save(const Rect& rect);
  void restore();

  [[nodiscard]] std::uint32_t width() const { return width_; }
  [[nodiscard]] std::uint32_t height() const { return height_; }
  [[nodiscard]] std::uint8_t* row(std::uint32_t y) { return pixels_.get() + stride() * y; }
  [[nodiscard]] const std::uint8_t* pixels() const { return pixels_.get(); }
  [[nodiscard]] std::size_t stride() const { return std::size_t{4} * width_; }

 private:
  [[nodiscard]] Rect cut(const Rect& rect) const;

  std::uint32_t width_ = 0;
  std::uint32_t height_ = 0;
  Bytes pixels_;
  Rect saved_rect_;
  Bytes saved_;
};

// `pixels` RGBA pixels over what `to` shows: PNG specification, 13.16 and APNG's blend operation "over".
void blend_over(const std::uint8_t* rgba, std::uint8_t* to, std::size_t pixels);

}  // namespace floodgate
