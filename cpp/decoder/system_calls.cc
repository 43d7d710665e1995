// The system calls that a worker may make: everything else ends it with SIGSYS.
//
// The list is what the codec libraries, glibc and the worker's own loop need once everything is loaded:
//  - memory: for malloc and thread stacks, and to map and unmap regions; never executable;
//  - threads: libheif's HEVC decoder starts one a picture. A clone that is not a thread is a fork;
//  - synchronisation, clocks, random numbers: harmless, and used by libraries at will;
//  - its one socket: receive orders with descriptors, send results, close what was mapped. The socket is
//    connected, and there is no call to make another;
//  - signals: abort() masks, handles and raises its own. tgkill reaches this process only;
//  - leaving.
// Some calls are no threat and common in libraries that look around or complain: they fail as on a machine
// that does not have the thing. clone3 is among them because its flags lie in memory where a filter cannot
// see them; glibc falls back to clone.
#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "decoder.h"

namespace floodgate::decoder {
namespace {

constexpr int kAllowed[] = {
    // memory
    SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(brk), SCMP_SYS(madvise),
    // threads
    SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getcpu),
    // synchronisation, clocks, random numbers
    SCMP_SYS(futex), SCMP_SYS(restart_syscall), SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
    SCMP_SYS(getrandom),
    // its one socket
    SCMP_SYS(recvmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(close),
    // signals
    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigreturn), SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    // leaving
    SCMP_SYS(exit), SCMP_SYS(exit_group)};

struct Failing {
  int call;
  int error;
};
constexpr Failing kFailing[] = {
    {SCMP_SYS(clone3), ENOSYS},
    // Complaints to streams that are not there.
    {SCMP_SYS(write), EBADF},
    {SCMP_SYS(writev), EBADF},
    {SCMP_SYS(fstat), EBADF},
    {SCMP_SYS(newfstatat), EBADF},
    {SCMP_SYS(ioctl), EBADF},
    {SCMP_SYS(lseek), EBADF},
    // Names of threads and of memory, scheduling hints, sizes of the machine.
    {SCMP_SYS(prctl), EPERM},
    {SCMP_SYS(sched_setaffinity), EPERM},
    {SCMP_SYS(sched_setscheduler), EPERM},
    {SCMP_SYS(sched_getscheduler), EPERM},
    {SCMP_SYS(sched_getparam), EPERM},
    {SCMP_SYS(setpriority), EPERM},
    {SCMP_SYS(sysinfo), EPERM},
    {SCMP_SYS(getrusage), EPERM},
    {SCMP_SYS(membarrier), EPERM},
};

// Stands for the worker's process id in the filter until there is a worker: above any that the kernel gives.
constexpr std::uint32_t kOwnId = 0x7F0F00D1;

// 0, or the negative error number of the first rule that could not be added.
int add_rules(scmp_filter_ctx filter) {
  int error = 0;
  const auto check = [&](int outcome) {
    if (error == 0) error = outcome;
  };
  check(seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS));
  // A tree instead of a list: for each worker the kernel runs it once for every system call that there is.
  constexpr std::uint32_t kTree = 2;
  check(seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, kTree));
  for (const int call : kAllowed) check(seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0));
  for (const auto& [call, failure] : kFailing) {
    check(seccomp_rule_add(filter, SCMP_ACT_ERRNO(static_cast<std::uint32_t>(failure)), call, 0));
  }
  const scmp_arg_cmp no_code = SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
  check(seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, &no_code));
  check(seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, &no_code));
  constexpr scmp_datum_t kThread = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_FILES;
  const scmp_arg_cmp thread = SCMP_A0(SCMP_CMP_MASKED_EQ, kThread, kThread);
  check(seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1, &thread));
  const scmp_arg_cmp itself = SCMP_A0(SCMP_CMP_EQ, kOwnId, 0);
  check(seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &itself));
  return error;
}

}  // namespace

bool make_filter(std::vector<sock_filter>& program, std::string& why) {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
  int error = filter == nullptr ? -ENOMEM : add_rules(filter);
  // libseccomp hands a filter's instructions out through a file only.
  const int file = memfd_create("filter", MFD_CLOEXEC);
  if (error == 0) error = file < 0 ? -errno : seccomp_export_bpf(filter, file);
  if (filter != nullptr) seccomp_release(filter);
  const off_t bytes = error == 0 ? lseek(file, 0, SEEK_END) : 0;
  program.resize(static_cast<std::size_t>(bytes) / sizeof(sock_filter));
  if (error == 0 && (bytes <= 0 || pread(file, program.data(), static_cast<std::size_t>(bytes), 0) != bytes))
    error = -EIO;
  if (file >= 0) close(file);
  if (error == 0) return true;
  why = std::string("seccomp: ") + std::strerror(-error);
  return false;
}

bool forbid_system_calls(std::vector<sock_filter> filter, std::string& why) {
  for (sock_filter& instruction : filter) {
    if (instruction.k == kOwnId) instruction.k = static_cast<std::uint32_t>(getpid());
  }
  const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0) return true;
  why = std::string("seccomp: ") + std::strerror(errno);
  return false;
}

}  // namespace floodgate::decoder
