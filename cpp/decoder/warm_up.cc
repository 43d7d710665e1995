#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <string_view>
#include <vector>

#include "decoder.h"
#include "floodgate/decode.h"
#include "floodgate/sequence.h"
#include "floodgate/view.h"
#include "warm_up_samples.h"

namespace floodgate::decoder {
namespace {

// A sample that cannot be decoded (a codec library may be built without it) warms nothing up, and that is
// all.
void decode_sample(std::string_view base64) {
  const std::vector<std::uint8_t> data = from_base64(base64);
  const MediaLimits limits;
  const auto info = probe(data, limits);
  if (!info.ok()) return;
  // Resizing looks at what the processor has when it is first done.
  const ImageView view{.width = 8, .height = 8};
  std::vector<std::uint8_t> unseen(static_cast<std::size_t>(view.row_bytes()));
  const std::array<RenderTarget, 1> targets = {RenderTarget{&view, unseen}};
  ViewRenderer sink(targets);
  if (!info.value().is_sequence()) {
    (void)decode(data, info.value(), limits, {}, sink);
    return;
  }
  SamplingPlan plan;
  plan.max_frames = 2;
  FrameCursor cursor;
  const auto source = FrameSource::open(data, info.value(), limits, plan, cursor);
  if (!source.ok()) return;
  for (std::uint32_t i = 0; i < plan.max_frames; ++i) {
    const auto step = source.value()->next(cursor, sink);
    if (!step.ok() || step.value().kind == StepKind::kEnd) return;
  }
}

// The C library reads the time zone, and sizes of the machine for qsort, when they are first asked for.
void warm_up_libc() {
  tzset();
  const std::time_t now = 0;
  std::tm broken_down{};
  (void)gmtime_r(&now, &broken_down);
  (void)localtime_r(&now, &broken_down);
  std::array<int, 4096> numbers{};
  std::qsort(numbers.data(), numbers.size(), sizeof(int), [](const void* a, const void* b) {
    return *static_cast<const int*>(a) - *static_cast<const int*>(b);
  });
}

}  // namespace

void warm_up() {
  warm_up_libc();
  for (const std::string_view sample : kWarmUpSamples) decode_sample(sample);
}

}  // namespace floodgate::decoder
