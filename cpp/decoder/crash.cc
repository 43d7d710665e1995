// Tells a crash for want of memory from any other.
//
// Many codecs check what malloc returns, and answer; some do not, and crash on the null pointer or end in
// std::terminate. When such a crash comes while the address space is all but used up, the exit code says so.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>

#include "decoder.h"

namespace floodgate::decoder {
namespace {

// When not even this share of the limit can still be had, memory was what was wanting.
constexpr std::uint64_t kLastShare = 8;

std::uint64_t probe_bytes = 0;
alignas(16) std::array<std::uint8_t, 64 << 10> alternate_stack;

// Runs in a broken process: system calls only. Returning lets the crash happen again, now for good.
void on_crash(int) {
  void* probe = mmap(nullptr, probe_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (probe == MAP_FAILED) _exit(sandbox::kExitOutOfMemory);
  munmap(probe, probe_bytes);
}

}  // namespace

bool watch_for_crashes(std::uint64_t memory_bytes) {
  probe_bytes = memory_bytes / kLastShare + 1;
  stack_t stack{};
  stack.ss_sp = alternate_stack.data();
  stack.ss_size = alternate_stack.size();
  if (sigaltstack(&stack, nullptr) != 0) return false;
  struct sigaction action {};
  action.sa_handler = on_crash;
  action.sa_flags = SA_ONSTACK | static_cast<int>(SA_RESETHAND);
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGSEGV, SIGBUS, SIGABRT}) {
    if (sigaction(signal, &action, nullptr) != 0) return false;
  }
  return true;
}

}  // namespace floodgate::decoder
