#include "canvas.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace floodgate {

Rect Canvas::cut(const Rect& rect) const {
  Rect result;
  result.left = std::min(rect.left, width_);
  result.top = std::min(rect.top, height_);
  result.width = std::min(rect.width, width_ - result.left);
  result.height = std::min(rect.height, height_ - result.top);
  return result;
}

Status Canvas::grow(std::uint32_t width, std::uint32_t height, const Rgba& fill_color) {
  width = std::max(width, width_);
  height = std::max(height, height_);
  if (width == width_ && height == height_) return {};
  auto memory = allocate_bytes(std::size_t{4} * width * height);
  if (!memory.ok()) return memory.status();
  const Bytes old = std::exchange(pixels_, std::move(memory).value());
  const std::size_t old_stride = stride();
  const std::uint32_t old_height = height_;
  width_ = width;
  height_ = height;
  fill({0, 0, width, height}, fill_color);
  for (std::uint32_t y = 0; y < old_height; ++y) std::memcpy(row(y), old.get() + old_stride * y, old_stride);
  return {};
}

void Canvas::fill(const Rect& rect, const Rgba& color) {
  const Rect inside = cut(rect);
  for (std::uint32_t y = 0; y < inside.height; ++y) {
    std::uint8_t* to = row(inside.top + y) + std::size_t{4} * inside.left;
    for (std::uint32_t x = 0; x < inside.width; ++x) to = std::copy_n(color.begin(), 4, to);
  }
}

Status Canvas::save(const Rect& rect) {
  saved_rect_ = cut(rect);
  const std::size_t bytes = std::size_t{4} * saved_rect_.width;
  auto memory = allocate_bytes(std::max<std::size_t>(1, bytes * saved_rect_.height));
  if (!memory.ok()) return memory.status();
  saved_ = std::move(memory).value();
  for (std::uint32_t y = 0; y < saved_rect_.height; ++y) {
    std::memcpy(saved_.get() + bytes * y, row(saved_rect_.top + y) + std::size_t{4} * saved_rect_.left,
                bytes);
  }
  return {};
}

void Canvas::restore() {
  if (!saved_) return;
  const std::size_t bytes = std::size_t{4} * saved_rect_.width;
  for (std::uint32_t y = 0; y < saved_rect_.height; ++y) {
    std::memcpy(row(saved_rect_.top + y) + std::size_t{4} * saved_rect_.left, saved_.get() + bytes * y,
                bytes);
  }
  saved_.reset();
}

void blend_over(const std::uint8_t* rgba, std::uint8_t* to, std::size_t pixels) {
  for (std::size_t i = 0; i < pixels; ++i, rgba += 4, to += 4) {
    const std::uint32_t alpha = rgba[3];
    if (alpha == 0) continue;
    if (alpha == 255 || to[3] == 0) {
      std::memcpy(to, rgba, 4);
      continue;
    }
    const std::uint32_t under = to[3] * (255 - alpha);  // in 255ths
    const std::uint32_t sum = 255 * alpha + under;
    for (int c = 0; c < 3; ++c) {
      to[c] = static_cast<std::uint8_t>((rgba[c] * 255 * alpha + to[c] * under + sum / 2) / sum);
    }
    to[3] = static_cast<std::uint8_t>((sum + 127) / 255);
  }
}

}  // namespace floodgate
