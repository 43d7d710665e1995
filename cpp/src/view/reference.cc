#include "reference.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "kernel.h"
#include "placement.h"
#include "stored_plan.h"

namespace floodgate {
namespace {

using Pixel = std::array<std::uint8_t, 3>;

struct Pixels {
  std::size_t width;
  std::size_t height;
  std::vector<Pixel> at;

  Pixels(std::size_t w, std::size_t h) : width(w), height(h), at(w * h) {}
  Pixel& operator()(std::size_t x, std::size_t y) { return at[y * width + x]; }
  const Pixel& operator()(std::size_t x, std::size_t y) const { return at[y * width + x]; }
};

std::size_t offset(std::int32_t start, std::int32_t i) {
  return static_cast<std::size_t>(start) + static_cast<std::size_t>(i);
}

Pixels opaque(const FrameShape& shape, std::span<const std::uint8_t> samples, const ImageView& view) {
  Pixels out(shape.width, shape.height);
  for (std::size_t i = 0; i < out.at.size(); ++i) {
    const std::uint8_t* pixel = samples.data() + i * shape.channels;
    const std::uint32_t alpha = shape.channels == 4 && !view.ignore_alpha ? pixel[3] : 255;
    for (std::size_t c = 0; c < 3; ++c) {
      // To nearest; 255 is odd, so there is no tie.
      const std::uint32_t sum = view.background[c] * (255 - alpha) + pixel[c] * alpha;
      out.at[i][c] = static_cast<std::uint8_t>((sum + 127) / 255);
    }
  }
  return out;
}

Pixels upright(const Pixels& in, std::uint8_t orientation) {
  const bool swaps = orientation >= 5 && orientation <= 8;
  Pixels out(swaps ? in.height : in.width, swaps ? in.width : in.height);
  const std::size_t right = in.width - 1;
  const std::size_t bottom = in.height - 1;
  for (std::size_t y = 0; y < out.height; ++y) {
    for (std::size_t x = 0; x < out.width; ++x) {
      // EXIF 2.32, tag 0x0112: where row 0 and column 0 of the stored picture are seen.
      switch (orientation) {
        case 2:
          out(x, y) = in(right - x, y);
          break;
        case 3:
          out(x, y) = in(right - x, bottom - y);
          break;
        case 4:
          out(x, y) = in(x, bottom - y);
          break;
        case 5:
          out(x, y) = in(y, x);
          break;
        case 6:
          out(x, y) = in(y, bottom - x);
          break;
        case 7:
          out(x, y) = in(right - y, bottom - x);
          break;
        case 8:
          out(x, y) = in(right - y, x);
          break;
        default:
          out(x, y) = in(x, y);
      }
    }
  }
  return out;
}

Pixels transposed(const Pixels& in) { return upright(in, 5); }

// One pass along rows.
Pixels filtered(const Pixels& in, std::int32_t width, Filter filter) {
  if (in.width == static_cast<std::size_t>(width)) return in;  // unfiltered, as in Pillow
  const Kernel kernel(static_cast<std::int32_t>(in.width), width, 0, width, filter);
  Pixels out(static_cast<std::size_t>(width), in.height);
  for (std::size_t y = 0; y < out.height; ++y) {
    for (std::int32_t x = 0; x < width; ++x) {
      const Taps taps = kernel.taps(x);
      for (std::size_t c = 0; c < 3; ++c) {
        std::int64_t sum = kHalf;
        for (std::int32_t i = 0; i < taps.count; ++i) {
          sum += std::int64_t{kernel.weights(x)[i]} * in(offset(taps.first, i), y)[c];
        }
        out(static_cast<std::size_t>(x), y)[c] =
            static_cast<std::uint8_t>(std::clamp<std::int64_t>(sum >> kPrecisionBits, 0, 255));
      }
    }
  }
  return out;
}

Pixels resized(const Pixels& in, const Placement& placement, Filter filter) {
  const Sides sides = {static_cast<std::uint32_t>(in.width), static_cast<std::uint32_t>(in.height)};
  const auto vertically = [&](const Pixels& picture) {
    return transposed(filtered(transposed(picture), placement.resized_height, filter));
  };
  if (vertical_first(sides, placement)) {
    return filtered(vertically(in), placement.resized_width, filter);
  }
  return vertically(filtered(in, placement.resized_width, filter));
}

}  // namespace

std::vector<std::uint8_t> reference_view(const FrameShape& shape, std::span<const std::uint8_t> pixels,
                                         const ImageView& view) {
  const std::uint8_t orientation = view.ignore_orientation ? shape.undo : shape.orientation;
  const Turn turn = turn_of(orientation);
  const Sides shown = shown_sides(shape, turn);
  const Placement placement = place(shown.width, shown.height, view);

  const auto width = static_cast<std::size_t>(view.out_width());
  const auto height = static_cast<std::size_t>(view.out_height());
  Pixels canvas(width, height);
  std::fill(canvas.at.begin(), canvas.at.end(), view.pad_color);
  if (placement.kept_width > 0) {
    const Pixels picture = resized(upright(opaque(shape, pixels, view), orientation), placement, view.filter);
    for (std::int32_t y = 0; y < placement.kept_height; ++y) {
      for (std::int32_t x = 0; x < placement.kept_width; ++x) {
        canvas(offset(placement.out_x, x), offset(placement.out_y, y)) =
            picture(offset(placement.kept_x, x), offset(placement.kept_y, y));
      }
    }
  }

  std::vector<std::uint8_t> out(static_cast<std::size_t>(view.row_bytes()));
  for (std::size_t i = 0; i < canvas.at.size(); ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      const std::size_t channel = view.color == ColorOrder::kRgb ? c : 2 - c;
      const std::size_t at = view.layout == Layout::kNhwc ? 3 * i + channel : channel * canvas.at.size() + i;
      out[at] = canvas.at[i][c];
    }
  }
  return out;
}

}  // namespace floodgate
