// Every animated picture, its frames in order, and once more from the middle: both must agree.
#include <memory>

#include "checked_sink.h"
#include "floodgate/sequence.h"

namespace floodgate::fuzzing {
namespace {

void read_all(std::span<const std::uint8_t> data, const MediaInfo& info) {
  const SamplingPlan plan = {.max_frames = 12, .seed = 7};
  FrameCursor cursor;
  auto source = FrameSource::open(data, info, kSmall, plan, cursor);
  if (!source.ok()) {
    require(!source.status().message().empty());
    return;
  }
  bool reopened = false;
  for (std::uint32_t steps = 0;; ++steps) {
    require(steps <= kMaxPlannedFrames);
    CheckedSink sink;
    const FrameCursor before = cursor;
    const auto step = source.value()->next(cursor, sink);
    if (!step.ok()) {
      require(cursor.decoded == 0);
      return;
    }
    require((step.value().kind == StepKind::kFrame) == sink.complete());
    if (step.value().kind == StepKind::kEnd) return;
    require(cursor.next == before.next + 1 && cursor.decoded == before.decoded + 1);
    if (!reopened && cursor.next == 2) {
      reopened = true;
      source = FrameSource::open(data, info, kSmall, plan, cursor);
      require(source.ok());
    }
  }
}

}  // namespace
}  // namespace floodgate::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace floodgate;
  const std::span<const std::uint8_t> input(data, size);
  const auto info = probe(input, fuzzing::kSmall);
  if (info.ok() && info.value().is_sequence() && !is_video(info.value().format)) {
    fuzzing::read_all(input, info.value());
  }
  return 0;
}
