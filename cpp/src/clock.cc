#include "floodgate/clock.h"

#include <ctime>

namespace floodgate {

namespace {

Nanos read(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<Nanos>(now.tv_sec) * kSecond + now.tv_nsec;
}

}  // namespace

Nanos monotonic_now() { return read(CLOCK_MONOTONIC); }

Nanos thread_cpu_now() { return read(CLOCK_THREAD_CPUTIME_ID); }

}  // namespace floodgate
