// Time as the core sees it: nanoseconds on CLOCK_MONOTONIC, the clock that Python's time.monotonic_ns()
// reads.
//
// Decisions (batch rule, expiry) take `now` as an argument and never read a clock themselves; only the
// scheduler's threads read one. Thread rule: stateless.
#pragma once

#include <cstdint>
#include <limits>

namespace floodgate {

using Nanos = std::int64_t;

inline constexpr Nanos kNever = std::numeric_limits<Nanos>::max();
inline constexpr Nanos kMicrosecond = 1'000;
inline constexpr Nanos kMillisecond = 1'000'000;
inline constexpr Nanos kSecond = 1'000'000'000;

// Nanoseconds on CLOCK_MONOTONIC.
Nanos monotonic_now();

// CPU time that the calling thread has used, ns.
Nanos thread_cpu_now();

}  // namespace floodgate
