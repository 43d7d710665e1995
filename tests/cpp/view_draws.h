// Pictures and views drawn at random from a fixed seed, for tests that hold one renderer to another.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "encoded_pictures.h"
#include "floodgate/view.h"

namespace floodgate::testing {

inline constexpr Filter kFilters[] = {Filter::kBilinear, Filter::kBicubic, Filter::kLanczos, Filter::kBox,
                                      Filter::kHamming};
inline constexpr ResizeMode kModes[] = {ResizeMode::kStretch, ResizeMode::kContain, ResizeMode::kCover};
class Draws {
 public:
  explicit Draws(std::uint32_t seed) : random_(seed) {}
  std::int32_t between(std::int32_t low, std::int32_t high) {
    return std::uniform_int_distribution<std::int32_t>(low, high)(random_);
  }
  bool one_in(std::int32_t n) { return between(1, n) == 1; }
  std::uint8_t byte() { return static_cast<std::uint8_t>(between(0, 255)); }

  // Noise, or extremes, where clipping shows.
  Data samples(std::size_t count) {
    const bool extremes = one_in(2);
    Data drawn(count);
    for (auto& sample : drawn) sample = extremes ? (one_in(2) ? 255 : 0) : byte();
    return drawn;
  }

  ImageView view(std::int32_t max_side) {
    ImageView drawn;
    drawn.width = between(1, max_side);
    drawn.height = between(1, max_side);
    drawn.mode = kModes[between(0, 2)];
    drawn.filter = kFilters[between(0, 4)];
    if (one_in(3)) drawn.crop_width = between(1, drawn.width);
    if (one_in(3)) drawn.crop_height = between(1, drawn.height);
    if (one_in(2)) drawn.pad_anchor = PadAnchor::kTopLeft;
    drawn.pad_color = {byte(), byte(), byte()};
    if (one_in(4)) drawn.color = ColorOrder::kBgr;
    if (one_in(4)) drawn.layout = Layout::kNchw;
    if (one_in(2)) drawn.background = {byte(), byte(), byte()};
    drawn.ignore_alpha = one_in(4);
    drawn.ignore_orientation = one_in(6);
    return drawn;
  }

  FrameShape shape(std::int32_t max_side) {
    FrameShape drawn;
    drawn.width = static_cast<std::uint32_t>(between(1, max_side));
    drawn.height = static_cast<std::uint32_t>(between(1, max_side));
    drawn.orientation = static_cast<std::uint8_t>(between(1, 8));
    drawn.channels = one_in(3) ? 4 : 3;
    if (one_in(4)) {
      drawn.par_x = static_cast<std::uint32_t>(between(1, 64));
      drawn.par_y = static_cast<std::uint32_t>(between(1, 64));
    }
    return drawn;
  }

 private:
  std::mt19937 random_;
};

inline std::string describe(const FrameShape& shape, const ImageView& view) {
  return std::to_string(shape.width) + "x" + std::to_string(shape.height) + " orientation " +
         std::to_string(shape.orientation) + " channels " + std::to_string(shape.channels) + " par " +
         std::to_string(shape.par_x) + ":" + std::to_string(shape.par_y) + " to " +
         std::to_string(view.width) + "x" + std::to_string(view.height) + " mode " +
         std::to_string(static_cast<int>(view.mode)) + " filter " +
         std::to_string(static_cast<int>(view.filter)) + " crop " + std::to_string(view.crop_width) + "x" +
         std::to_string(view.crop_height);
}

}  // namespace floodgate::testing
