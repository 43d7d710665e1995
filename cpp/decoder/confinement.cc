#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "decoder.h"

namespace floodgate::decoder {
namespace {

// Room for a region's descriptor until it is mapped, and no more to speak of.
constexpr rlim_t kOpenFiles = 8;
constexpr rlim_t kStackBytes = 8 << 20;
// The limit counts all threads of the user, the server's too, so it can only stop a flood.
constexpr rlim_t kTasksOfTheUser = 8192;

// Address space in use, bytes; 0 when it cannot be read.
std::uint64_t address_space() {
  const int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  char text[128];
  const ssize_t length = read(file, text, sizeof text);
  close(file);
  std::uint64_t pages = 0;
  if (length <= 0 || std::from_chars(text, text + length, pages).ec != std::errc{}) return 0;
  return pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

bool limit(__rlimit_resource resource, rlim_t soft, rlim_t hard) {
  const rlimit value{soft, hard};
  return setrlimit(resource, &value) == 0;
}

bool limit_at_most(__rlimit_resource resource, rlim_t most) {
  rlimit value{};
  if (getrlimit(resource, &value) != 0) return false;
  const rlim_t lower = std::min(value.rlim_max, most);
  return limit(resource, lower, lower);
}

bool drop_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  return syscall(SYS_capset, &header, none) == 0;
}

}  // namespace

bool confine(const Inheritance& inheritance, std::uint64_t& address_space_bytes, std::string& why) {
  const auto failed = [&](const char* what) {
    why = std::string(what) + ": " + std::strerror(errno);
    return false;
  };
  (void)prctl(PR_SET_NAME, "fg-worker");
  const std::uint64_t used = address_space();
  if (used == 0) return failed("/proc/self/statm");
  address_space_bytes = used + inheritance.setup.memory_bytes;
  rlimit memory{};
  // The server raises the limit as regions come; it could not raise the hard one.
  if (getrlimit(RLIMIT_AS, &memory) != 0) return failed("RLIMIT_AS");
  if (memory.rlim_max != RLIM_INFINITY) {
    errno = EPERM;
    return failed("the server's own address space is limited (ulimit -v)");
  }
  if (!limit(RLIMIT_AS, address_space_bytes, RLIM_INFINITY)) return failed("RLIMIT_AS");
  if (!limit_at_most(RLIMIT_CORE, 0)) return failed("RLIMIT_CORE");
  if (!limit_at_most(RLIMIT_FSIZE, 0)) return failed("RLIMIT_FSIZE");
  if (!limit_at_most(RLIMIT_NOFILE, kOpenFiles)) return failed("RLIMIT_NOFILE");
  if (!limit_at_most(RLIMIT_NPROC, kTasksOfTheUser)) return failed("RLIMIT_NPROC");
  if (!limit_at_most(RLIMIT_STACK, kStackBytes)) return failed("RLIMIT_STACK");
  if (!limit_at_most(RLIMIT_MEMLOCK, 0)) return failed("RLIMIT_MEMLOCK");
  if (!drop_capabilities()) return failed("capset");
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("PR_SET_NO_NEW_PRIVS");
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return failed("PR_SET_DUMPABLE");
  // Forked from a single thread, so "the parent" is the process. It may have died before this took effect.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) return failed("PR_SET_PDEATHSIG");
  if (getppid() != inheritance.zygote) _exit(1);
  if (!watch_for_crashes(inheritance.setup.memory_bytes)) return failed("sigaltstack");
  return forbid_system_calls(inheritance.filter, why);
}

}  // namespace floodgate::decoder
