// Descriptors of processes: what is done through one never meets another process that got the same id. Not
// <sys/pidfd.h>, whose functions C++ cannot link before glibc 2.37. Thread rule: stateless.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include "descriptor.h"

namespace floodgate::sandbox {

// REQUIRES: `pid` is a child that nobody has waited for, or the parent. Not held, with errno: no such thing.
inline Descriptor open_pidfd(pid_t pid) {
  return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

inline bool signal_pidfd(const Descriptor& process, int signal) {
  return syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) == 0;
}

}  // namespace floodgate::sandbox
