#include <algorithm>
#include <cstring>
#include <new>
#include <string>

#include "floodgate/view.h"
#include "placement.h"
#include "resample.h"

namespace floodgate {
namespace {

Status check_side(const char* member, std::int32_t value) {
  if (value >= 1 && value <= kMaxViewSide) return {};
  return {Code::kInvalidArgument, std::string("view.") + member + " is " + std::to_string(value) +
                                      "; it must be between 1 and " + std::to_string(kMaxViewSide)};
}

Status check_crop(const char* member, std::int32_t crop, const char* side_member, std::int32_t side) {
  if (crop >= 0 && crop <= side) return {};
  return {Code::kInvalidArgument, std::string("view.") + member + " is " + std::to_string(crop) +
                                      "; it must be 0 (none) or at most view." + side_member + ", " +
                                      std::to_string(side)};
}

// Puts RGB pixels where the view's colour order and layout want them.
class ViewWriter final : public RowSink {
 public:
  ViewWriter(const ImageView& view, const Placement& placement, std::uint8_t* out)
      : placement_(placement),
        out_(out),
        width_(static_cast<std::size_t>(view.out_width())),
        height_(static_cast<std::size_t>(view.out_height())),
        packed_rgb_(view.layout == Layout::kNhwc && view.color == ColorOrder::kRgb),
        pixel_step_(view.layout == Layout::kNhwc ? 3 : 1) {
    const std::size_t channel_step = view.layout == Layout::kNhwc ? 1 : width_ * height_;
    for (std::size_t c = 0; c < 3; ++c) {
      channel_[c] = channel_step * (view.color == ColorOrder::kRgb ? c : 2 - c);
    }
  }

  void fill(const std::array<std::uint8_t, 3>& color) {
    for (std::size_t c = 0; c < 3; ++c) {
      std::uint8_t* to = out_ + channel_[c];
      for (std::size_t i = 0; i < width_ * height_; ++i) to[i * pixel_step_] = color[c];
    }
  }

  void row(std::int32_t y, const std::uint8_t* rgb) override {
    const auto pixels = static_cast<std::size_t>(placement_.kept_width);
    const std::size_t first = (static_cast<std::size_t>(placement_.out_y + y) * width_ +
                               static_cast<std::size_t>(placement_.out_x)) *
                              pixel_step_;
    if (packed_rgb_) {
      std::memcpy(out_ + first, rgb, 3 * pixels);
      return;
    }
    for (std::size_t c = 0; c < 3; ++c) {
      std::uint8_t* to = out_ + first + channel_[c];
      for (std::size_t x = 0; x < pixels; ++x) to[x * pixel_step_] = rgb[3 * x + c];
    }
  }

 private:
  const Placement placement_;
  std::uint8_t* const out_;
  const std::size_t width_;
  const std::size_t height_;
  const bool packed_rgb_;
  const std::size_t pixel_step_;
  std::array<std::size_t, 3> channel_{};  // offset of R, G, B
};

}  // namespace

Status validate(const ImageView& view) {
  if (Status status = check_side("width", view.width); !status.ok()) return status;
  if (Status status = check_side("height", view.height); !status.ok()) return status;
  if (Status status = check_crop("crop_width", view.crop_width, "width", view.width); !status.ok())
    return status;
  return check_crop("crop_height", view.crop_height, "height", view.height);
}

Status render_view(const Picture& picture, const ImageView& view, std::span<std::uint8_t> out) {
  if (Status status = validate(view); !status.ok()) return status;
  if (out.size() != static_cast<std::size_t>(view.row_bytes())) {
    return {Code::kInvalidArgument, "the output has " + std::to_string(out.size()) +
                                        " bytes; the view needs " + std::to_string(view.row_bytes())};
  }
  if (picture.width == 0 || picture.height == 0 || !picture.rgb) {
    return {Code::kInvalidArgument, "the picture has no pixels"};
  }
  // Beyond this, a side times a view's side leaves 32 bits.
  constexpr std::uint32_t kMaxPictureSide = 1U << 18;
  if (picture.width > kMaxPictureSide || picture.height > kMaxPictureSide) {
    return {Code::kTooLarge, "the picture has a side of more than " + std::to_string(kMaxPictureSide) +
                                 " px, which views do not handle"};
  }
  const Placement placement = place(picture.width, picture.height, view);
  ViewWriter writer(view, placement, out.data());
  if (placement.kept_width < view.out_width() || placement.kept_height < view.out_height()) {
    writer.fill(view.pad_color);
  }
  if (placement.kept_width == 0) return {};
  try {
    resample(picture, placement, view.filter, writer);
  } catch (const std::bad_alloc&) {
    return {Code::kOverloaded, "there is no memory to render the view"};
  }
  return {};
}

}  // namespace floodgate
