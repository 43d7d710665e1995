#include "stored_plan.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

namespace floodgate {
namespace {

// Beyond this, a side times a view's side leaves 32 bits.
constexpr double kMaxPictureSide = 1 << 18;

// Python's round() under the default rounding mode; not below 1.
double stretched(std::uint32_t side, std::uint32_t by, std::uint32_t over) {
  return std::max(1.0, std::nearbyint(static_cast<double>(side) * by / over));
}

StoredAxis plan_axis(std::uint32_t stored, std::int32_t resized, std::int32_t kept_from, std::int32_t kept,
                     Filter filter) {
  StoredAxis axis;
  axis.from = kept_from;
  axis.length = kept;
  const auto in = static_cast<std::int32_t>(stored);
  if (in != resized) axis.kernel.emplace(in, resized, kept_from, kept, filter);
  return axis;
}

}  // namespace

Turn turn_of(std::uint8_t orientation) {
  const auto is_one_of = [orientation](std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
    return orientation == a || orientation == b || orientation == c || orientation == d;
  };
  return {is_one_of(5, 6, 7, 8), is_one_of(2, 3, 7, 8), is_one_of(3, 4, 6, 7)};
}

Sides upright_sides(const FrameShape& shape, const Turn& turn) {
  return turn.swaps_sides ? Sides{shape.height, shape.width} : Sides{shape.width, shape.height};
}

Sides shown_sides(const FrameShape& shape, const Turn& turn) {
  FrameShape shown = shape;
  // Without a usable aspect, pixels are square.
  if (shape.par_x != 0 && shape.par_y != 0 && shape.par_x != shape.par_y) {
    const bool wide = shape.par_x > shape.par_y;
    const double side = wide ? stretched(shape.width, shape.par_x, shape.par_y)
                             : stretched(shape.height, shape.par_y, shape.par_x);
    (wide ? shown.width : shown.height) = static_cast<std::uint32_t>(std::min(side, 2 * kMaxPictureSide));
  }
  return upright_sides(shown, turn);
}

bool vertical_first(const Sides& picture, const Placement& placement) {
  const std::int64_t lost_height = std::int64_t{picture.height} - placement.resized_height;
  const std::int64_t lost_width = std::int64_t{picture.width} - placement.resized_width;
  return lost_height > 0 && lost_height > 2 * lost_width;
}

Result<StoredPlan> plan_stored(const FrameShape& shape, const ImageView& view) {
  if (shape.width == 0 || shape.height == 0) {
    return Status(Code::kInvalidArgument, "the picture has no pixels");
  }
  StoredPlan plan;
  plan.turn = turn_of(view.ignore_orientation ? shape.undo : shape.orientation);
  const Sides picture = upright_sides(shape, plan.turn);
  const Sides shown = shown_sides(shape, plan.turn);
  if (std::max({picture.width, picture.height, shown.width, shown.height}) > kMaxPictureSide) {
    return Status(Code::kTooLarge, "the picture has a side of more than " +
                                       std::to_string(static_cast<std::uint32_t>(kMaxPictureSide)) +
                                       " px, which views do not handle");
  }
  plan.placement = place(shown.width, shown.height, view);
  const Placement& placement = plan.placement;
  if (placement.kept_width == 0) return plan;

  StoredAxis x =
      plan_axis(picture.width, placement.resized_width, placement.kept_x, placement.kept_width, view.filter);
  StoredAxis y = plan_axis(picture.height, placement.resized_height, placement.kept_y, placement.kept_height,
                           view.filter);
  const bool upright_rows_first = vertical_first(picture, placement);
  plan.rows_first = plan.turn.swaps_sides != upright_rows_first;
  if (plan.turn.swaps_sides) std::swap(x, y);
  plan.columns = std::move(x);
  plan.rows = std::move(y);

  if (plan.turn.mirrors_columns) {
    if (!plan.columns.kernel) plan.columns.kernel = Kernel::copy(plan.columns.from, plan.columns.length);
    plan.columns.kernel->mirror(static_cast<std::int32_t>(shape.width));
  }
  if (plan.turn.mirrors_rows) {
    const auto height = static_cast<std::int32_t>(shape.height);
    plan.rows.from = height - plan.rows.from - plan.rows.length;
    if (plan.rows.kernel) {
      plan.rows.kernel->mirror(height);
      plan.rows.kernel->reverse();
    }
  }
  // One pass alone gives the same either way; the rows' makes less of the picture, or holds none of it.
  if (!plan.columns.kernel || !plan.rows.kernel) plan.rows_first = plan.rows.kernel.has_value();
  return plan;
}

}  // namespace floodgate
