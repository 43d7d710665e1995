#include "zygote.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "channel.h"
#include "pidfd.h"

namespace floodgate::sandbox {
namespace {

// Forking and reaping take milliseconds; a zygote that is silent for so long is taken for dead.
constexpr Nanos kSilenceNs = 10 * kSecond;
// Out of the way of the descriptors that the program starts with.
constexpr int kOutOfTheWay = 16;

Status unavailable(const std::string& what) {
  return {Code::kUnavailable, "cannot start the decoder: " + what};
}
std::string error_text(int error) { return std::strerror(error); }

// The program gets its control socket, standard error (the loader complains there) and nothing else: no
// environment to speak of, no blocked signals, a process group of its own, so that what a terminal sends to
// the server spares it. Not a session: the kernel's scheduler deals in sessions (autogroups), and server and
// worker, who take turns, would each queue for the processor behind everybody else. The time zone is fixed
// because the C library would read it from a file, later and again, and symbols are bound before the first
// fork, because every worker would look them up anew.
int spawn(const std::string& program, int control, pid_t& pid) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  if (const int error = posix_spawn_file_actions_init(&files); error != 0) return error;
  if (const int error = posix_spawnattr_init(&attributes); error != 0) {
    posix_spawn_file_actions_destroy(&files);
    return error;
  }
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                           POSIX_SPAWN_SETPGROUP));
  int error = posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDWR, 0);
  if (error == 0) error = posix_spawn_file_actions_adddup2(&files, 0, 1);
  if (error == 0) error = posix_spawn_file_actions_adddup2(&files, control, kControlDescriptor);
  if (error == 0) error = posix_spawn_file_actions_addclosefrom_np(&files, kControlDescriptor + 1);
  if (error == 0) {
    std::string name = program;
    std::string zone = "TZ=UTC0";
    std::array<char*, 2> arguments = {name.data(), nullptr};
    std::string binding = "LD_BIND_NOW=1";
    std::array<char*, 3> environment = {zone.data(), binding.data(), nullptr};
    error = posix_spawn(&pid, program.c_str(), &files, &attributes, arguments.data(), environment.data());
  }
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  return error;
}

// The arena through a descriptor that no writable mapping can be made from.
Descriptor reopened_for_reading(int arena) {
  return Descriptor(open(("/proc/self/fd/" + std::to_string(arena)).c_str(), O_RDONLY | O_CLOEXEC));
}

}  // namespace

Result<std::shared_ptr<Zygote>> Zygote::start(const SandboxOptions& options) {
  if (access(options.program.c_str(), X_OK) != 0) {
    return Status(Code::kInvalidArgument, "there is no decoder program " + options.program);
  }
  std::vector<ArenaPiece> arenas = {{options.arena_fd, options.arena_bytes}};
  arenas.insert(arenas.end(), options.more_arenas.begin(), options.more_arenas.end());
  std::vector<Descriptor> readable;
  for (const ArenaPiece& arena : arenas) {
    readable.push_back(reopened_for_reading(arena.fd));
    if (!readable.back().held()) {
      return unavailable("the arena cannot be opened for reading: " + error_text(errno));
    }
  }
  Descriptor ours;
  Descriptor theirs;
  if (!make_channel(ours, theirs)) return unavailable(error_text(errno));
  Descriptor aside(fcntl(theirs.get(), F_DUPFD_CLOEXEC, kOutOfTheWay));
  if (!aside.held()) return unavailable(error_text(errno));
  theirs.reset();

  pid_t pid = 0;
  if (const int error = spawn(options.program, aside.get(), pid); error != 0) {
    return unavailable(error_text(error));
  }
  aside.reset();  // so that the channel closes when the program dies
  Descriptor pidfd = open_pidfd(pid);
  const int pidfd_error = errno;
  const bool watched = pidfd.held();
  std::shared_ptr<Zygote> zygote(new Zygote(pid, std::move(pidfd), std::move(ours)));
  if (!watched) return unavailable("no pidfd: " + error_text(pidfd_error));

  Setup setup;
  setup.faults = options.faults;
  setup.arenas = static_cast<std::uint32_t>(arenas.size());
  setup.memory_bytes = options.memory_bytes;
  const int control = zygote->control_.get();
  bool sent = set_receive_limit(control, kSilenceNs) && send(control, &setup, sizeof setup);
  for (std::size_t i = 0; sent && i < arenas.size(); ++i) {
    const ArenaBytes arena{arenas[i].bytes};
    const int descriptor = readable[i].get();
    sent = send(control, &arena, sizeof arena, {&descriptor, 1});
  }
  if (!sent) return unavailable("it does not listen");
  Ready ready;
  if (receive(control, ready) != Received::kMessage) {
    return unavailable("it ended at once or is of another build");
  }
  ready.reason[kMaxReason - 1] = '\0';
  if (ready.reason[0] != '\0') return unavailable(ready.reason);
  return zygote;
}

Zygote::~Zygote() {
  // Without its channel a zygote kills and collects its workers and leaves. One that does not is killed.
  control_.reset();
  constexpr int kPatienceMs = 5000;
  pollfd ended{pidfd_.get(), POLLIN, 0};
  if (!pidfd_.held() || dead_ || poll(&ended, 1, kPatienceMs) != 1) kill(pid_, SIGKILL);
  siginfo_t info{};
  while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED) != 0 && errno == EINTR) {
  }
}

bool Zygote::dead() const {
  const std::lock_guard lock(mu_);
  return dead_;
}

bool Zygote::ask_locked(const Request& request) {
  if (!dead_ && !send(control_.get(), &request, sizeof request)) dead_ = true;
  return !dead_;
}

std::optional<Reply> Zygote::await_locked(Request::Kind kind) {
  while (!dead_) {
    Reply reply;
    std::array<Descriptor, kMaxDescriptors> descriptors;
    std::size_t bytes = sizeof reply;
    if (receive(control_.get(), &reply, bytes, descriptors) != Received::kMessage || bytes != sizeof reply) {
      dead_ = true;
      break;
    }
    if (reply.kind == Request::Kind::kFork) {
      asked_ = false;
      fork_error_ = reply.error;
      if (reply.error == 0) spare_ = Forked{reply.pid, std::move(descriptors[0]), std::move(descriptors[1])};
    }
    if (reply.kind == kind) return reply;
  }
  return std::nullopt;
}

Result<Forked> Zygote::take() {
  const std::lock_guard lock(mu_);
  const Request request{Request::Kind::kFork, 0};
  if (!spare_) {
    if (!asked_ && !ask_locked(request)) return unavailable("the zygote is gone");
    if (!await_locked(Request::Kind::kFork)) return unavailable("the zygote is gone");
    if (!spare_) return unavailable(error_text(fork_error_));
  }
  Forked forked = std::move(*spare_);
  spare_.reset();
  // The next one starts up while this one works.
  asked_ = ask_locked(request);
  return forked;
}

std::optional<Reply> Zygote::reap(pid_t pid) {
  const std::lock_guard lock(mu_);
  if (!ask_locked({Request::Kind::kReap, pid})) return std::nullopt;
  return await_locked(Request::Kind::kReap);
}

}  // namespace floodgate::sandbox
