#include "view_writer.h"

#include <cstring>

namespace floodgate {

ViewWriter::ViewWriter(const ImageView& view, const StoredPlan& plan, std::span<std::uint8_t> out)
    : out_(out.data()),
      bytes_(out.size()),
      area_(static_cast<std::size_t>(view.out_width()) * static_cast<std::size_t>(view.out_height())),
      pad_color_(view.pad_color),
      covered_(plan.placement.kept_width == view.out_width() &&
               plan.placement.kept_height == view.out_height()),
      functions_(pass_functions()),
      pixel_step_(view.layout == Layout::kNhwc ? 3 : 1) {
  const std::size_t channel_step = view.layout == Layout::kNhwc ? 1 : area_;
  for (std::size_t c = 0; c < 3; ++c) {
    channel_[c] = channel_step * (view.color == ColorOrder::kRgb ? c : 2 - c);
  }
  const Placement& placement = plan.placement;
  const auto step = static_cast<std::ptrdiff_t>(pixel_step_);
  const std::ptrdiff_t line = step * view.out_width();
  count_ = plan.columns.length;
  first_ = line * placement.out_y + step * placement.out_x;
  row_step_ = plan.turn.swaps_sides ? step : line;
  column_step_ = plan.turn.swaps_sides ? line : step;
  // Columns come in upright order, rows in stored order.
  if (plan.turn.mirrors_rows) {
    first_ += row_step_ * (plan.rows.length - 1);
    row_step_ = -row_step_;
  }
}

void ViewWriter::pad() {
  if (covered_) return;
  for (std::size_t c = 0; c < 3; ++c) {
    std::uint8_t* to = out_ + channel_[c];
    for (std::size_t i = 0; i < area_; ++i) to[i * pixel_step_] = pad_color_[c];
  }
}

void ViewWriter::row(std::int32_t i, const std::uint8_t* rgb) {
  std::uint8_t* const first = out_ + (first_ + row_step_ * i);
  const auto pixels = static_cast<std::size_t>(count_);
  if (pixel_step_ == 3 && column_step_ == 3) {
    if (channel_[0] == 0) {
      std::memcpy(first, rgb, 3 * pixels);
    } else {
      functions_.reverse(rgb, pixels, first);
    }
    return;
  }
  std::uint8_t* const planes[3] = {first + channel_[0], first + channel_[1], first + channel_[2]};
  if (column_step_ == 1) return functions_.split(rgb, pixels, planes);
  for (std::size_t c = 0; c < 3; ++c) {
    const std::ptrdiff_t step = column_step_;
    std::uint8_t* to = planes[c];
    for (std::size_t x = 0; x < pixels; ++x, to += step) *to = rgb[3 * x + c];
  }
}

}  // namespace floodgate
