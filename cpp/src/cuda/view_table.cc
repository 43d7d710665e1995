#include "view_table.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <utility>

#include "../view/stored_plan.h"

namespace floodgate::cuda {
namespace {

constexpr std::size_t kAlignment = 16;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

Kernel kernel_of(StoredAxis&& axis) {
  return axis.kernel ? std::move(*axis.kernel) : Kernel::copy(axis.from, axis.length);
}

// Colour order, layout and padding.
void lay_out(const ImageView& view, const Placement& placement, ViewJob& job) {
  job.width = view.out_width();
  job.height = view.out_height();
  job.pad_step = view.layout == Layout::kNhwc ? 3 : 1;
  const std::int64_t area = std::int64_t{job.width} * job.height;
  for (std::size_t c = 0; c < 3; ++c) {
    const auto channel = static_cast<std::int64_t>(view.color == ColorOrder::kRgb ? c : 2 - c);
    job.out_channel[c] = channel * (view.layout == Layout::kNhwc ? 1 : area);
    job.pad[c] = view.pad_color[c];
    job.background[c] = view.background[c];
  }
  job.kept_x = placement.out_x;
  job.kept_y = placement.out_y;
  job.kept_end_x = placement.out_x + placement.kept_width;
  job.kept_end_y = placement.out_y + placement.kept_height;
}

}  // namespace

Status ViewTable::add(const Surface& surface, std::span<const DeviceTarget> targets) {
  const std::size_t jobs = jobs_.size();
  const std::size_t tiles = tiles_.size();
  const std::size_t tables = tables_.size();
  Status status;
  try {
    for (const DeviceTarget& target : targets) {
      status = add_view(surface, target);
      if (!status.ok()) break;
    }
    if (status.ok()) {
      std::stable_sort(tiles_.begin() + static_cast<std::ptrdiff_t>(tiles), tiles_.end(),
                       [](const Tile& one, const Tile& other) { return one.begin < other.begin; });
    }
  } catch (const std::bad_alloc&) {
    status = Status(Code::kOverloaded, "there is no memory to render the view");
  }
  if (!status.ok()) {
    jobs_.resize(jobs);
    tiles_.resize(tiles);
    tables_.resize(tables);
  }
  return status;
}

Status ViewTable::add_view(const Surface& surface, const DeviceTarget& target) {
  const ImageView& view = *target.view;
  const FrameShape& shape = surface.shape;
  if (Status checked = validate(view); !checked.ok()) return checked;
  if (shape.channels != 3 && shape.channels != 4) {
    return {Code::kInvalidArgument,
            "rows of " + std::to_string(shape.channels) + " channels cannot be rendered, only of 3 or 4"};
  }
  auto planned = plan_stored(shape, view);
  if (!planned.ok()) return planned.status();
  StoredPlan plan = std::move(planned).value();

  ViewJob job;
  job.source = surface.pixels;
  job.out = target.row;
  job.has_alpha = shape.channels == 4 && !view.ignore_alpha;
  lay_out(view, plan.placement, job);
  if (plan.placement.kept_width > 0) {
    const Placement& placement = plan.placement;
    const std::int64_t pixel = job.pad_step;
    const std::int64_t line = pixel * job.width;
    std::int64_t step_columns = plan.turn.swaps_sides ? line : pixel;
    std::int64_t step_rows = plan.turn.swaps_sides ? pixel : line;
    job.out_first = line * placement.out_y + pixel * placement.out_x;
    // Columns come in upright order, rows in stored order.
    if (plan.turn.mirrors_rows) {
      job.out_first += step_rows * (plan.rows.length - 1);
      step_rows = -step_rows;
    }
    std::int64_t source_columns = shape.channels;
    auto source_rows = static_cast<std::int64_t>(surface.pitch);
    Kernel columns = kernel_of(std::move(plan.columns));
    Kernel rows = kernel_of(std::move(plan.rows));
    // From here on "columns" is the first axis.
    if (plan.rows_first) {
      std::swap(columns, rows);
      std::swap(step_columns, step_rows);
      std::swap(source_columns, source_rows);
      job.lanes_along_b = true;
    }
    job.step_a = source_columns;
    job.step_b = source_rows;
    job.out_step_a = step_columns;
    job.out_step_b = step_rows;
    const auto words = [](const Kernel& kernel) {
      return (std::uint64_t{2} + static_cast<std::uint64_t>(kernel.max_count())) *
             static_cast<std::uint64_t>(kernel.length());
    };
    if (tables_.size() + words(columns) + words(rows) > std::numeric_limits<std::int32_t>::max()) {
      return {Code::kOverloaded, "there is no room for more pictures in one launch"};
    }
    job.a = add_axis(columns);
    job.b = add_axis(rows);
  }
  jobs_.push_back(job);
  add_tiles(static_cast<std::uint32_t>(jobs_.size() - 1));
  return {};
}

TapLists ViewTable::add_axis(const Kernel& kernel) {
  const auto length = static_cast<std::size_t>(kernel.length());
  const auto most = static_cast<std::size_t>(kernel.max_count());
  const std::size_t start = tables_.size();
  tables_.resize(start + (2 + most) * length, 0);
  TapLists lists;
  lists.first = static_cast<std::uint32_t>(start);
  lists.count = static_cast<std::uint32_t>(start + length);
  lists.weights = static_cast<std::uint32_t>(start + 2 * length);
  lists.length = kernel.length();
  for (std::size_t i = 0; i < length; ++i) {
    const auto output = static_cast<std::int32_t>(i);
    const Taps taps = kernel.taps(output);
    tables_[lists.first + i] = taps.first;
    tables_[lists.count + i] = taps.count;
    for (std::int32_t k = 0; k < taps.count; ++k) {
      tables_[lists.weights + static_cast<std::size_t>(k) * length + i] = kernel.weights(output)[k];
    }
  }
  return lists;
}

void ViewTable::add_tiles(std::uint32_t index) {
  const ViewJob& job = jobs_[index];
  for (std::int32_t b = 0; b < job.b.length; b += kTileB) {
    Tile tile{.job = index, .b0 = b, .begin = std::numeric_limits<std::int32_t>::max()};
    for (std::int32_t i = b; i < std::min(b + kTileB, job.b.length); ++i) {
      const auto output = static_cast<std::uint32_t>(i);
      const std::int32_t first = tables_[job.b.first + output];
      tile.begin = std::min(tile.begin, first);
      tile.end = std::max(tile.end, first + tables_[job.b.count + output]);
    }
    for (std::int32_t a = 0; a < job.a.length; a += kTileA) {
      tile.a0 = a;
      tiles_.push_back(tile);
    }
  }
  const std::int32_t area = job.width * job.height;
  const bool covered = job.kept_end_x - job.kept_x == job.width && job.kept_end_y - job.kept_y == job.height;
  for (std::int32_t first = 0; !covered && first < area; first += kPadPixels) {
    tiles_.push_back({.job = index, .padding = true, .a0 = first});
  }
}

TableLayout ViewTable::layout() const {
  TableLayout layout;
  layout.tiles = aligned(jobs_.size() * sizeof(ViewJob));
  layout.tables = layout.tiles + aligned(tiles_.size() * sizeof(Tile));
  layout.tile_count = static_cast<std::uint32_t>(tiles_.size());
  return layout;
}

std::size_t ViewTable::size_bytes() const { return layout().tables + tables_.size() * sizeof(std::int32_t); }

void ViewTable::write(std::span<std::uint8_t> out) const {
  const TableLayout at = layout();
  const auto put = [&](std::size_t offset, const auto& values) {
    if (!values.empty()) std::memcpy(out.data() + offset, values.data(), values.size() * sizeof(values[0]));
  };
  put(at.jobs, jobs_);
  put(at.tiles, tiles_);
  put(at.tables, tables_);
}

}  // namespace floodgate::cuda
