#include "checked_sink.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace floodgate;
  const auto info = probe({data, size}, fuzzing::kSmall);
  if (!info.ok()) {
    fuzzing::require(!info.status().message().empty());
    return 0;
  }
  const MediaInfo& found = info.value();
  if (!is_video(found.format)) {
    fuzzing::require(found.width > 0 && found.height > 0);
    fuzzing::require(std::uint64_t{found.width} * found.height <= fuzzing::kSmall.max_pixels);
    fuzzing::require(found.frames <= fuzzing::kSmall.max_animation_frames);
  }
  fuzzing::require(found.orientation >= 1 && found.orientation <= 8);
  fuzzing::require(found.channels >= 1 && found.channels <= 4);
  fuzzing::require(found.decode_cost_ns > 0);
  return 0;
}
