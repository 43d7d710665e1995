#include "placement.h"

#include <algorithm>
#include <cmath>

namespace floodgate {
namespace {

// Python's round() under the default rounding mode.
std::int32_t rounded_side(double side) { return static_cast<std::int32_t>(std::nearbyint(side)); }

struct Size {
  std::int32_t width;
  std::int32_t height;
};

// The size that keeps the picture's aspect and meets the view's width or its height: of the two the one that
// fits inside (contain) or the one that covers.
Size keep_aspect(std::uint32_t picture_width, std::uint32_t picture_height, const ImageView& view) {
  const double width = picture_width;
  const double height = picture_height;
  const double picture_ratio = width / height;
  const double view_ratio = static_cast<double>(view.width) / view.height;
  if (picture_ratio == view_ratio) return {view.width, view.height};
  const bool wider = picture_ratio > view_ratio;
  const bool meet_width = (view.mode == ResizeMode::kContain) == wider;
  if (meet_width) return {view.width, rounded_side(height / width * view.width)};
  return {rounded_side(width / height * view.height), view.height};
}

// Start of the resized picture on one axis of the width x height canvas.
std::int32_t canvas_start(std::int32_t canvas, std::int32_t resized, const ImageView& view) {
  if (resized > canvas) return -((resized - canvas) / 2);
  if (view.pad_anchor == PadAnchor::kTopLeft) return 0;
  return static_cast<std::int32_t>(std::nearbyint((canvas - resized) * 0.5));
}

struct Kept {
  std::int32_t from;  // in the resized picture
  std::int32_t length;
  std::int32_t out;
};

// What the crop window [crop_start, crop_start + out_length) of the canvas keeps of a resized picture at
// `start`.
Kept keep(std::int32_t start, std::int32_t resized, std::int32_t crop_start, std::int32_t out_length) {
  const std::int32_t from = std::max(start, crop_start);
  const std::int32_t to = std::min(start + resized, crop_start + out_length);
  if (to <= from) return {0, 0, 0};
  return {from - start, to - from, from - crop_start};
}

}  // namespace

Placement place(std::uint32_t picture_width, std::uint32_t picture_height, const ImageView& view) {
  const Size resized = view.mode == ResizeMode::kStretch ? Size{view.width, view.height}
                                                         : keep_aspect(picture_width, picture_height, view);
  const Kept x = keep(canvas_start(view.width, resized.width, view), resized.width,
                      (view.width - view.out_width()) / 2, view.out_width());
  const Kept y = keep(canvas_start(view.height, resized.height, view), resized.height,
                      (view.height - view.out_height()) / 2, view.out_height());
  Placement placement;
  placement.resized_width = resized.width;
  placement.resized_height = resized.height;
  placement.kept_x = x.from;
  placement.kept_y = y.from;
  placement.kept_width = y.length > 0 ? x.length : 0;
  placement.kept_height = x.length > 0 ? y.length : 0;
  placement.out_x = x.out;
  placement.out_y = y.out;
  return placement;
}

}  // namespace floodgate
