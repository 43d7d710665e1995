#include <algorithm>
#include <cstring>
#include <new>
#include <optional>
#include <string>
#include <utility>

#include "floodgate/view.h"
#include "passes.h"
#include "view_stream.h"

namespace floodgate {
namespace {

Status check_target(const RenderTarget& target) {
  if (Status status = validate(*target.view); !status.ok()) return status;
  if (target.row.size() == static_cast<std::size_t>(target.view->row_bytes())) return {};
  return {Code::kInvalidArgument, "the output has " + std::to_string(target.row.size()) +
                                      " bytes; the view needs " + std::to_string(target.view->row_bytes())};
}

// The view without what makes no difference to a picture of this shape, so that equal results are seen as
// equal.
ImageView as_seen(ImageView view, const FrameShape& shape) {
  if (shape.channels == 3) view.ignore_alpha = true;
  if (view.ignore_alpha) view.background = {};
  if (shape.orientation == 1 && shape.undo == 1) view.ignore_orientation = true;
  return view;
}

}  // namespace

// The views that share a background, and the rows composited on it.
class ViewRenderer::Stage {
 public:
  Stage(const FrameShape& shape, const ImageView& view)
      : background_(view.background),
        ignore_alpha_(view.ignore_alpha),
        width_(shape.width),
        channels_(shape.channels),
        opaque_(channels_ == 3 ? 0 : std::size_t{3} * width_ * kRowsAtOnce) {}

  [[nodiscard]] bool serves(const ImageView& view) const {
    return view.ignore_alpha == ignore_alpha_ && view.background == background_;
  }

  void add(const ImageView& view, StoredPlan plan, std::span<std::uint8_t> row) {
    streams_.push_back(std::make_unique<ViewStream>(view, std::move(plan), row));
  }

  void restart() {
    for (const auto& stream : streams_) stream->restart();
  }

  void widen(Roi& roi) const {
    for (const auto& stream : streams_) {
      const Roi own = stream->roi();
      roi = {std::min(roi.left, own.left), std::min(roi.top, own.top), std::max(roi.right, own.right),
             std::max(roi.bottom, own.bottom)};
    }
  }

  void rows(std::uint32_t y, std::uint32_t count, const std::uint8_t* pixels, std::size_t stride) {
    if (channels_ == 3) return feed(y, count, pixels, stride);
    const PassFunctions& functions = pass_functions();
    const std::size_t row_bytes = std::size_t{3} * width_;
    for (std::uint32_t done = 0; done < count;) {
      const std::uint32_t rows = std::min(static_cast<std::uint32_t>(kRowsAtOnce), count - done);
      for (std::uint32_t i = 0; i < rows; ++i) {
        const std::uint8_t* const rgba = pixels + stride * (done + i);
        std::uint8_t* const rgb = opaque_.data() + row_bytes * i;
        if (ignore_alpha_) {
          functions.drop_alpha(rgba, width_, rgb);
        } else {
          functions.composite(rgba, width_, background_, rgb);
        }
      }
      feed(y + done, rows, opaque_.data(), row_bytes);
      done += rows;
    }
  }

 private:
  void feed(std::uint32_t y, std::uint32_t count, const std::uint8_t* rgb, std::size_t stride) {
    for (const auto& stream : streams_) {
      stream->rows(static_cast<std::int32_t>(y), static_cast<std::int32_t>(count), rgb, stride);
    }
  }

  const std::array<std::uint8_t, 3> background_;
  const bool ignore_alpha_;
  const std::size_t width_;
  const std::size_t channels_;
  const AlignedBytes opaque_;  // kRowsAtOnce rows
  std::vector<std::unique_ptr<ViewStream>> streams_;
};

ViewRenderer::ViewRenderer(std::span<const RenderTarget> targets)
    : targets_(targets.begin(), targets.end()) {}
ViewRenderer::~ViewRenderer() = default;

Status ViewRenderer::begin(const FrameShape& shape) {
  next_ = 0;
  if (ready_ && shape == shape_) {
    for (const auto& stage : stages_) stage->restart();
    return {};
  }
  ready_ = false;
  shape_ = shape;
  try {
    Status status = prepare();
    ready_ = status.ok();
    return status;
  } catch (const std::bad_alloc&) {
    return {Code::kOverloaded, "there is no memory to render the view"};
  }
}

Status ViewRenderer::prepare() {
  stages_.clear();
  copies_.clear();
  if (shape_.channels != 3 && shape_.channels != 4) {
    return {Code::kInvalidArgument,
            "rows of " + std::to_string(shape_.channels) + " channels cannot be rendered, only of 3 or 4"};
  }
  std::vector<ImageView> seen;
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    const RenderTarget& target = targets_[i];
    if (Status status = check_target(target); !status.ok()) return status;
    const ImageView view = as_seen(*target.view, shape_);
    seen.push_back(view);
    const auto same = static_cast<std::size_t>(std::find(seen.begin(), seen.end(), view) - seen.begin());
    if (same != i) {
      copies_.push_back({same, i});
      continue;
    }
    auto plan = plan_stored(shape_, view);
    if (!plan.ok()) return plan.status();
    auto stage = std::find_if(stages_.begin(), stages_.end(),
                              [&view](const auto& candidate) { return candidate->serves(view); });
    if (stage == stages_.end()) {
      stage = stages_.insert(stage, std::make_unique<Stage>(shape_, view));
    }
    (*stage)->add(view, std::move(plan).value(), target.row);
  }
  return {};
}

void ViewRenderer::rows(std::uint32_t y, std::uint32_t count, const std::uint8_t* pixels,
                        std::size_t stride) {
  if (!ready_ || y != next_ || count > shape_.height - next_) return;  // rows are missing: never complete
  for (const auto& stage : stages_) stage->rows(y, count, pixels, stride);
  next_ += count;
  if (!complete()) return;
  for (const Copy& copy : copies_) {
    std::memcpy(targets_[copy.to].row.data(), targets_[copy.from].row.data(), targets_[copy.to].row.size());
  }
}

Roi ViewRenderer::roi() const {
  Roi all = {UINT32_MAX, UINT32_MAX, 0, 0};
  for (const auto& stage : stages_) stage->widen(all);
  return all;
}

bool ViewRenderer::complete() const { return ready_ && next_ == shape_.height; }

Status render_view(const Picture& picture, const ImageView& view, std::span<std::uint8_t> out) {
  if (picture.width != 0 && picture.height != 0 && !picture.rgb) {
    return {Code::kInvalidArgument, "the picture has no pixels"};
  }
  const RenderTarget target = {&view, out};
  ViewRenderer renderer({&target, 1});
  if (Status begun = renderer.begin({picture.width, picture.height}); !begun.ok()) return begun;
  renderer.rows(0, picture.height, picture.rgb.get(), std::size_t{3} * picture.width);
  return {};
}

}  // namespace floodgate
