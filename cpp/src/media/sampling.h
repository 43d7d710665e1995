// Which presentation times of a sequence are looked at: the arithmetic behind SamplingPlan.
//
// Thread rule: stateless; equal arguments give equal plans, on every machine.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "floodgate/sequence.h"

namespace floodgate {

struct PlannedFrame {
  std::int64_t time_us = 0;
  bool key = false;  // a key frame's own time; else the frame that is shown at the time

  bool operator==(const PlannedFrame&) const = default;
};

// Ascending, each time once. The first and the last time always (the last for more than one frame); a quarter
// of the rest, rounded up, are times drawn with the seed, one from each of as many equal stretches; the
// others are key frames spread evenly, at least min_interval_ms apart. Where there are too few key frames,
// drawn times make up for them. There are no more frames than two and one for every min_interval_ms; drawn
// times keep no distance, or what closely follows a planned frame would never be seen. REQUIRES: key_times_us
// ascends; first_us <= last_us; plan.max_frames >= 1.
std::vector<PlannedFrame> plan_frames(std::span<const std::int64_t> key_times_us, std::int64_t first_us,
                                      std::int64_t last_us, const SamplingPlan& plan);

}  // namespace floodgate
