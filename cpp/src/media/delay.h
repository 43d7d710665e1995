// How long a frame of an animated picture is shown.
//
// Delays of 10 ms and less, none among them, are shown for 100 ms, as every browser does. Thread rule:
// stateless.
#pragma once

#include <algorithm>
#include <cstdint>

namespace floodgate {

inline constexpr std::uint32_t kShortDelayMs = 100;
inline constexpr std::uint64_t kMaxDelayMs = 1ULL << 31;

constexpr std::uint32_t shown_delay_ms(std::uint64_t stored_ms) {
  return stored_ms <= 10 ? kShortDelayMs : static_cast<std::uint32_t>(std::min(stored_ms, kMaxDelayMs));
}

}  // namespace floodgate
