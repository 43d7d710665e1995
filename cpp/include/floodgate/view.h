// Views: the tensors that heads want, and the arithmetic that makes them.
//
// An ImageView is resize, then crop or pad, then colour order and layout; always uint8, because
// normalisation lives in the model graph. Rendering is bit-identical to Pillow's `Image.resize` (the same
// 22-bit fixed-point coefficients and order of passes, as of Pillow 13) followed by crop or `ImageOps.pad`.
// A TextView is a row of UTF-8 bytes. Thread rule: stateless; outputs are caller-owned.
// Refused: zero or negative sizes, a crop larger than what it crops, sides over kMaxViewSide.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "floodgate/media.h"
#include "floodgate/status.h"

namespace floodgate {

inline constexpr std::int32_t kMaxViewSide = 4096;

enum class ResizeMode : std::uint8_t {
  kStretch,  // to exactly width x height
  kContain,  // letterbox: as large as fits, aspect kept, padded to width x height (Pillow ImageOps.pad)
  kCover,    // shortest side to cover width x height, aspect kept, then centre crop to width x height
};
enum class Filter : std::uint8_t { kBilinear, kBicubic, kLanczos, kBox, kHamming };
enum class ColorOrder : std::uint8_t { kRgb, kBgr };
enum class Layout : std::uint8_t { kNhwc, kNchw };
enum class PadAnchor : std::uint8_t { kCenter, kTopLeft };  // where the picture sits when padded

struct ImageView {
  std::int32_t width = 0;  // of the resize, px
  std::int32_t height = 0;
  ResizeMode mode = ResizeMode::kStretch;
  Filter filter = Filter::kBilinear;
  std::int32_t crop_width = 0;  // centre crop after the resize, px; 0: none
  std::int32_t crop_height = 0;
  PadAnchor pad_anchor = PadAnchor::kCenter;
  std::array<std::uint8_t, 3> pad_color = {0, 0, 0};  // R, G, B
  ColorOrder color = ColorOrder::kRgb;
  Layout layout = Layout::kNhwc;

  bool operator==(const ImageView&) const = default;
  [[nodiscard]] std::int32_t out_width() const { return crop_width > 0 ? crop_width : width; }
  [[nodiscard]] std::int32_t out_height() const { return crop_height > 0 ? crop_height : height; }
  // Bytes of one rendered row: 3 * out_width * out_height.
  [[nodiscard]] std::int64_t row_bytes() const { return std::int64_t{3} * out_width() * out_height(); }
};

// kInvalidArgument, naming the member, when the view cannot be rendered.
Status validate(const ImageView& view);

// Renders `picture` into `out`. REQUIRES: validate(view).ok(), out.size() == view.row_bytes().
Status render_view(const Picture& picture, const ImageView& view, std::span<std::uint8_t> out);

// A batch of text rows is uint8[n, L] plus int32[n, 1] byte lengths. L is the smallest of `buckets`
// (ascending, bytes) that holds the batch's longest row; unused bytes are zero. Text longer than the last
// bucket is split into several rows at white space (or at a code point boundary where there is none).
struct TextView {
  std::vector<std::int32_t> buckets;

  bool operator==(const TextView&) const = default;
  [[nodiscard]] std::int32_t max_bytes() const { return buckets.empty() ? 0 : buckets.back(); }
};

Status validate(const TextView& view);

}  // namespace floodgate
