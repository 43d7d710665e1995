#include "sampling.h"

#include <algorithm>

namespace floodgate {
namespace {

// SplitMix64 (Steele, Lea and Flood, 2014).
std::uint64_t mixed(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t z = seed + (index + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

// Uniform in [0, 1).
double drawn(std::uint64_t seed, std::uint64_t index) {
  return static_cast<double>(mixed(seed, index) >> 11) * 0x1.0p-53;
}

}  // namespace

std::vector<PlannedFrame> plan_frames(std::span<const std::int64_t> key_times_us, std::int64_t first_us,
                                      std::int64_t last_us, const SamplingPlan& plan) {
  std::vector<PlannedFrame> frames = {{first_us, true}};
  const std::int64_t apart = std::max<std::int64_t>(1, std::int64_t{plan.min_interval_ms} * 1000);
  if (plan.max_frames < 2 || last_us == first_us) return frames;

  std::vector<std::int64_t> inner;
  std::int64_t previous = first_us;
  for (const std::int64_t time : key_times_us) {
    if (time < previous + apart || time >= last_us) continue;
    inner.push_back(time);
    previous = time;
  }
  const auto rest =
      static_cast<std::size_t>(std::min<std::int64_t>(plan.max_frames - 2, (last_us - first_us) / apart));
  const std::size_t keys = std::min(rest - (rest + 3) / 4, inner.size());
  const std::size_t random = rest - keys;
  for (std::size_t i = 0; i < keys; ++i) {
    frames.push_back({inner[(2 * i + 1) * inner.size() / (2 * keys)], true});
  }
  const auto stretch =
      static_cast<double>(last_us - first_us) / static_cast<double>(std::max<std::size_t>(1, random));
  for (std::size_t i = 0; i < random; ++i) {
    const double at = (static_cast<double>(i) + drawn(plan.seed, i)) * stretch;
    frames.push_back({first_us + static_cast<std::int64_t>(at), false});
  }
  // Of equal times the key frame comes first and stays.
  std::ranges::sort(frames, [](const PlannedFrame& a, const PlannedFrame& b) {
    return a.time_us != b.time_us ? a.time_us < b.time_us : a.key && !b.key;
  });
  std::vector<PlannedFrame> kept;
  for (const PlannedFrame& frame : frames) {
    if (frame.time_us >= last_us) break;
    if (kept.empty() || frame.time_us > kept.back().time_us) kept.push_back(frame);
  }
  kept.push_back({last_us, false});
  return kept;
}

}  // namespace floodgate
