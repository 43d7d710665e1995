#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "decoder.h"
#include "floodgate/arena_space.h"
#include "worker/channel.h"
#include "worker/pidfd.h"

namespace floodgate::decoder {
namespace {

using sandbox::Received;
using sandbox::Reply;
using sandbox::Request;

// One heap for all threads: further ones would each take 64 MiB of the address space that is counted.
constexpr int kHeaps = 1;
// Memory of pictures this small stays with the worker between jobs, instead of being unmapped and faulted in
// again with each.
constexpr int kKeptBytes = 16 << 20;

// Threads that a codec has joined may take a moment to be gone.
bool single_threaded() {
  constexpr int kLooks = 200;
  constexpr timespec kPause{0, 1'000'000};
  for (int look = 0; look < kLooks; ++look) {
    DIR* tasks = opendir("/proc/self/task");
    if (tasks == nullptr) return false;
    int count = 0;
    while (const dirent* entry = readdir(tasks)) count += entry->d_name[0] != '.' ? 1 : 0;
    closedir(tasks);
    if (count == 1) return true;
    nanosleep(&kPause, nullptr);
  }
  return false;
}

void say(char (&reason)[sandbox::kMaxReason], std::string_view text) {
  std::memcpy(reason, text.data(), std::min(text.size(), sizeof reason - 1));
}

class Zygote {
 public:
  explicit Zygote(int control) : control_(control) {}

  int run() {
    // The server's own end, seen even while somebody else holds a copy of its end of the channel.
    const Descriptor server = sandbox::open_pidfd(getppid());
    sandbox::Ready ready;
    std::string why = set_up();
    if (why.empty() && !server.held()) why = "the kernel has no pidfds";
    say(ready.reason, why);
    if (!sandbox::send(control_, &ready, sizeof ready) || !why.empty()) return 1;
    for (;;) {
      std::array<pollfd, 2> events = {pollfd{control_, POLLIN, 0}, pollfd{server.get(), POLLIN, 0}};
      if (poll(events.data(), events.size(), -1) < 0) {
        if (errno == EINTR) continue;
        break;
      }
      if (events[1].revents != 0) break;
      Request request;
      if (sandbox::receive(control_, request) != Received::kMessage) break;
      const bool served = request.kind == Request::Kind::kFork ? fork_worker() : reap(request.pid);
      if (!served) break;
    }
    for (const pid_t child : children_) kill(child, SIGKILL);
    for (const pid_t child : children_) waitpid(child, nullptr, 0);
    return 0;
  }

 private:
  // What failed, in words.
  std::string set_up() {
    (void)prctl(PR_SET_NAME, "fg-zygote");
    mallopt(M_ARENA_MAX, kHeaps);
    mallopt(M_MMAP_THRESHOLD, kKeptBytes);
    mallopt(M_TRIM_THRESHOLD, kKeptBytes);
    inheritance_.zygote = getpid();
    sandbox::Setup& setup = inheritance_.setup;
    const sandbox::Setup ours;
    if (sandbox::receive(control_, setup) != Received::kMessage || setup.protocol != ours.protocol ||
        setup.job_bytes != ours.job_bytes || setup.result_bytes != ours.result_bytes) {
      return "the decoder program is of another build than the server";
    }
    std::string why = map_arenas(setup.arenas);
    if (!why.empty()) return why;
    if (!make_filter(inheritance_.filter, why)) return why;
    warm_up();
    malloc_trim(0);  // the less there is, the quicker a fork
    if (!single_threaded()) return "a codec library keeps a thread of its own";
    return {};
  }

  // What failed, in words.
  std::string map_arenas(std::uint32_t count) {
    std::vector<Descriptor> held;
    std::vector<ArenaPiece> pieces;
    for (std::uint32_t i = 0; i < count; ++i) {
      std::array<Descriptor, sandbox::kMaxDescriptors> descriptors;
      sandbox::ArenaBytes arena;
      std::size_t bytes = sizeof arena;
      if (sandbox::receive(control_, &arena, bytes, descriptors) != Received::kMessage ||
          bytes != sizeof arena) {
        return "the server names no arena";
      }
      pieces.push_back({descriptors[0].get(), arena.bytes});
      held.push_back(std::move(descriptors[0]));
    }
    auto arenas = ArenaSpace::map(pieces);
    if (!arenas.ok()) return arenas.status().message();
    arenas_ = std::move(arenas).value();
    inheritance_.arena = arenas_->bytes();
    return {};
  }

  bool fork_worker() {
    Reply reply;
    Descriptor servers;
    Descriptor workers;
    if (!sandbox::make_channel(servers, workers)) {
      reply.error = errno;
      return answer(reply);
    }
    const pid_t child = fork();
    if (child == 0) run_worker(inheritance_, workers.get());
    if (child < 0) {
      reply.error = errno;
      return answer(reply);
    }
    children_.push_back(child);
    const Descriptor pidfd = sandbox::open_pidfd(child);
    reply.pid = child;
    const std::array<int, 2> descriptors = {pidfd.get(), servers.get()};
    return sandbox::send(control_, &reply, sizeof reply, descriptors);
  }

  // A child's id is its own until it is waited for, which happens only here: the server means the process it
  // got from us, and has killed it.
  bool reap(pid_t child) {
    Reply reply;
    reply.kind = Request::Kind::kReap;
    reply.pid = child;
    const auto known = std::ranges::find(children_, child);
    if (known == children_.end()) {
      reply.error = ECHILD;
      return answer(reply);
    }
    children_.erase(known);
    int status = 0;
    if (waitpid(child, &status, 0) != child) {
      reply.error = errno;
    } else {
      reply.signalled = WIFSIGNALED(status);
      reply.ended_by = reply.signalled ? WTERMSIG(status) : WEXITSTATUS(status);
    }
    return answer(reply);
  }

  bool answer(const Reply& reply) const { return sandbox::send(control_, &reply, sizeof reply); }

  const int control_;
  Inheritance inheritance_;
  std::unique_ptr<ArenaSpace> arenas_;
  std::vector<pid_t> children_;
};

}  // namespace

int run_zygote(int control) { return Zygote(control).run(); }

}  // namespace floodgate::decoder
