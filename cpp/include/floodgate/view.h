// Views: the tensors that heads want, and the arithmetic that makes them.
//
// An ImageView is resize, then crop or pad, then colour order and layout; always uint8, because
// normalisation lives in the model graph. Rendering is bit-identical to Pillow's `Image.resize` (the same
// 22-bit fixed-point coefficients and order of passes, as of Pillow 13) followed by crop or `ImageOps.pad`.
// A TextView is a row of UTF-8 bytes. Thread rule: stateless; outputs are caller-owned.
// Refused: zero or negative sizes, a crop larger than what it crops, sides over kMaxViewSide.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "floodgate/decode.h"
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
  std::array<std::uint8_t, 3> background = {255, 255, 255};  // R, G, B that alpha is composited on
  bool ignore_alpha = false;                                 // the colours under the alpha, as stored
  bool ignore_orientation = false;                           // the picture as stored, not turned upright

  bool operator==(const ImageView&) const = default;
  [[nodiscard]] std::int32_t out_width() const { return crop_width > 0 ? crop_width : width; }
  [[nodiscard]] std::int32_t out_height() const { return crop_height > 0 ? crop_height : height; }
  // Bytes of one rendered row: 3 * out_width * out_height.
  [[nodiscard]] std::int64_t row_bytes() const { return std::int64_t{3} * out_width() * out_height(); }
};

// kInvalidArgument, naming the member, when the view cannot be rendered.
Status validate(const ImageView& view);

// One view to render and where to.
struct RenderTarget {
  const ImageView* view = nullptr;
  std::span<std::uint8_t> row;  // view->row_bytes() bytes
};

// Renders every target from one stream of rows: turning, compositing and resizing happen as rows come, and a
// view asked for twice is rendered once. Holds only the rows that the resize still needs. May be used for one
// picture after another, with the same targets; begin() starts anew. REQUIRES: the targets outlive it.
class ViewRenderer final : public RowSink {
 public:
  explicit ViewRenderer(std::span<const RenderTarget> targets);
  ~ViewRenderer() override;
  ViewRenderer(const ViewRenderer&) = delete;
  ViewRenderer& operator=(const ViewRenderer&) = delete;

  // Errors: kInvalidArgument (a view that cannot be, a row of another size), kTooLarge (a side beyond 2^18
  // px), kOverloaded (no memory).
  Status begin(const FrameShape& shape) override;
  void rows(std::uint32_t y, std::uint32_t count, const std::uint8_t* pixels, std::size_t stride) override;
  // What any of the views reads: a centre crop leaves the edges out.
  [[nodiscard]] Roi roi() const override;
  // Whether every row of the picture has come.
  [[nodiscard]] bool complete() const;

 private:
  class Stage;
  // A target that gets what another one got.
  struct Copy {
    std::size_t from;
    std::size_t to;
  };

  Status prepare();

  std::vector<RenderTarget> targets_;
  FrameShape shape_;
  bool ready_ = false;  // stages_ and copies_ are those of shape_
  std::vector<std::unique_ptr<Stage>> stages_;
  std::vector<Copy> copies_;
  std::uint32_t next_ = 0;  // row of the picture
};

// Renders an upright, opaque picture. REQUIRES: validate(view).ok(), out.size() == view.row_bytes().
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
