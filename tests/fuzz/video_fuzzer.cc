// Any bytes through the probe and the video reader: every planned frame under small limits, then again with
// the source dropped and opened anew between frames, which must give as many frames at the same times.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <utility>
#include <vector>

#include "floodgate/media.h"
#include "floodgate/sequence.h"

namespace {

using namespace floodgate;

// Reads every byte that it is given, and holds the source to the order of rows.
class Reader final : public RowSink {
 public:
  Status begin(const FrameShape& shape) override {
    shape_ = shape;
    next_ = 0;
    if (shape.width == 0 || shape.height == 0 || shape.par_x == 0 || shape.par_y == 0) std::abort();
    if (shape.orientation < 1 || shape.orientation > 8) std::abort();
    return {};
  }
  void rows(std::uint32_t y, std::uint32_t count, const std::uint8_t* pixels, std::size_t stride) override {
    if (y != next_ || count == 0 || count > shape_.height - y) std::abort();
    const std::size_t row_bytes = std::size_t{shape_.channels} * shape_.width;
    for (std::uint32_t row = 0; row < count; ++row) {
      for (std::size_t i = 0; i < row_bytes; ++i) sum_ += pixels[row * stride + i];
    }
    next_ = y + count;
  }
  [[nodiscard]] bool complete() const { return next_ == shape_.height && shape_.height > 0; }

 private:
  FrameShape shape_;
  std::uint32_t next_ = 0;
  std::uint64_t sum_ = 0;
};

constexpr std::size_t kMaxBytes = 1 << 20;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  MediaLimits limits;
  limits.max_video_bytes = kMaxBytes;
  limits.max_bytes = kMaxBytes;
  limits.max_pixels = 512 * 512;
  limits.max_side_px = 2048;
  const std::span<const std::uint8_t> data(bytes, size);
  const auto info = probe(data, limits);
  if (!info.ok() || !is_video(info.value().format)) return 0;
  const SamplingPlan plan = {6, 0, size};

  for (const bool drop : {false, true}) {
    FrameCursor cursor;
    auto source = FrameSource::open(data, info.value(), limits, plan, cursor);
    if (!source.ok()) return 0;
    std::int64_t previous_ms = -1;
    for (std::uint32_t steps = 0;; ++steps) {
      if (steps > plan.max_frames) std::abort();
      Reader reader;
      const auto step = source.value()->next(cursor, reader);
      if (!step.ok() || step.value().kind == StepKind::kEnd) break;
      if (step.value().time_ms < previous_ms) std::abort();
      if (step.value().kind == StepKind::kFrame && !reader.complete()) std::abort();
      previous_ms = step.value().time_ms;
      if (drop) {
        source = FrameSource::open(data, info.value(), limits, plan, cursor);
        if (!source.ok()) break;
      }
    }
  }
  return 0;
}
