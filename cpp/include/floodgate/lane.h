// The lanes that work waits in. Thread rule: values.
#pragma once

#include <cstddef>
#include <cstdint>

namespace floodgate {

// Urgency class; values equal the proto's.
enum class Lane : std::uint8_t { kStandard = 1, kLive = 2, kBulk = 3 };
inline constexpr std::size_t kLanes = 3;
constexpr std::size_t lane_index(Lane lane) { return static_cast<std::size_t>(lane) - 1; }

}  // namespace floodgate
