#include "worker_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <string_view>
#include <utility>

#include "channel.h"
#include "pidfd.h"
#include "wire.h"

namespace floodgate::sandbox {
namespace {

constexpr Nanos kGreetingNs = 10 * kSecond;
// How often a job under way is looked at. Its CPU time is overrun by so much at most.
constexpr Nanos kLongestTickNs = 25 * kMillisecond;
constexpr Nanos kShortestTickNs = 4 * kMillisecond;

// However busy the machine is, a job that has taken so long is over: a process that was taken over could keep
// just enough going to look starved.
constexpr Nanos kMostPatienceNs = 120 * kSecond;

// Whether any thread of the process runs or wants to: then it is the machine that is slow, not the process.
// True when nobody can tell.
bool wants_to_run(pid_t pid) {
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  DIR* directory = opendir(tasks.c_str());
  if (directory == nullptr) return true;
  bool runnable = false;
  while (const dirent* task = runnable ? nullptr : readdir(directory)) {
    if (task->d_name[0] == '.') continue;
    const Descriptor file(open((tasks + "/" + task->d_name + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
    char text[256];
    const ssize_t length = file.held() ? read(file.get(), text, sizeof text) : 0;
    const std::string_view stat(text, static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
    // "pid (name) state …"; the name may hold anything.
    const std::size_t name_end = stat.rfind(") ");
    runnable = name_end != std::string_view::npos && stat.substr(name_end + 2).starts_with('R');
  }
  closedir(directory);
  return runnable;
}

}  // namespace

Result<std::unique_ptr<WorkerProcess>> WorkerProcess::start(std::shared_ptr<Zygote> zygote, Nanos hang_ns) {
  auto forked = zygote->take();
  if (!forked.ok()) return forked.status();
  std::unique_ptr<WorkerProcess> process(
      new WorkerProcess(std::move(zygote), std::move(forked).value(), hang_ns));
  if (Status greeted = process->greet(); !greeted.ok()) return greeted;
  return process;
}

Status WorkerProcess::greet() {
  const auto refused = [](const std::string& why) {
    return Status(Code::kUnavailable, "cannot start a sandboxed decoder: " + why);
  };
  const int socket = forked_.socket.get();
  Hello hello;
  if (!set_receive_limit(socket, kGreetingNs) || receive(socket, hello) != Received::kMessage) {
    return refused("it ended at once");
  }
  hello.reason[kMaxReason - 1] = '\0';
  if (hello.reason[0] != '\0') return refused(hello.reason);
  own_bytes_ = hello.address_space_bytes;
  if (!limit_address_space()) return refused(std::string("prlimit: ") + std::strerror(errno));
  if (clock_getcpuclockid(forked_.pid, &cpu_clock_) != 0) return refused("its CPU time cannot be read");
  cpu_mark_ = cpu_now();
  if (!set_receive_limit(socket, std::clamp(hang_ns_ / 4, kShortestTickNs, kLongestTickNs))) {
    return refused(std::strerror(errno));
  }
  return {};
}

WorkerProcess::~WorkerProcess() { (void)end(); }

std::optional<Reply> WorkerProcess::end() {
  if (ended_) return std::nullopt;
  ended_ = true;
  // To a process that is dying already the signal changes nothing.
  signal_pidfd(forked_.pidfd, SIGKILL);
  auto reply = zygote_->reap(forked_.pid);
  if (!reply) {
    // Orphaned by its zygote, it may have come to us.
    siginfo_t info{};
    waitid(P_PIDFD, static_cast<id_t>(forked_.pidfd.get()), &info, WEXITED | WNOHANG);
  }
  return reply;
}

// Raised from here as regions come, since the process could otherwise spend what is meant for them.
bool WorkerProcess::limit_address_space() const {
  const rlimit limit{own_bytes_ + mapped_bytes_, RLIM_INFINITY};
  return prlimit(forked_.pid, RLIMIT_AS, &limit, nullptr) == 0;
}

Nanos WorkerProcess::cpu_now() const {
  timespec now{};
  if (clock_gettime(cpu_clock_, &now) != 0) return cpu_mark_;
  return static_cast<Nanos>(now.tv_sec) * kSecond + now.tv_nsec;
}

bool WorkerProcess::unmap(std::uint32_t slot) {
  Order order;
  order.kind = Order::Kind::kUnmap;
  order.slot = slot;
  mapped_bytes_ -= mapped_[slot].bytes;
  mapped_[slot] = {};
  return send(forked_.socket.get(), &order, kPlainOrderBytes) && limit_address_space();
}

void WorkerProcess::tidy() {
  for (std::uint32_t slot = 0; slot < mapped_.size(); ++slot) {
    // A process that is gone is found out by the next job.
    if (mapped_[slot].bytes > 0 && mapped_[slot].region.expired()) (void)unmap(slot);
  }
}

bool WorkerProcess::place(const std::shared_ptr<SharedRegion>& region, std::uint32_t& slot) {
  const auto same = [&](const Mapped& mapped) {
    return !mapped.region.owner_before(region) && !region.owner_before(mapped.region) && mapped.bytes > 0;
  };
  const auto found = std::ranges::find_if(mapped_, same);
  if (found != mapped_.end()) {
    found->last_job = jobs_;
    slot = static_cast<std::uint32_t>(found - mapped_.begin());
    return true;
  }
  auto place = std::ranges::find(mapped_, std::uint64_t{0}, &Mapped::bytes);
  if (place == mapped_.end() && mapped_.size() < kMaxRegions) {
    place = mapped_.emplace(place);
  } else if (place == mapped_.end()) {
    place = std::ranges::min_element(mapped_, {}, &Mapped::last_job);
    if (!unmap(static_cast<std::uint32_t>(place - mapped_.begin()))) return false;
  }
  slot = static_cast<std::uint32_t>(place - mapped_.begin());
  *place = {region, region->bytes().size(), jobs_};
  mapped_bytes_ += place->bytes;
  Order order;
  order.kind = Order::Kind::kMap;
  order.slot = slot;
  order.bytes = place->bytes;
  const int descriptor = region->fd();
  return limit_address_space() && send(forked_.socket.get(), &order, kPlainOrderBytes, {&descriptor, 1});
}

void WorkerProcess::begin_here() {
  const int here = sched_getcpu();
  cpu_set_t all;
  // Fails where there are more processors than the set has room for.
  if (here < 0 || here >= CPU_SETSIZE || sched_getaffinity(forked_.pid, sizeof all, &all) != 0) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(here, &one);
  if (sched_setaffinity(forked_.pid, sizeof one, &one) == 0) processors_ = all;
}

Outcome WorkerProcess::run(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions,
                           DecodeResult& result) {
  const Nanos start = monotonic_now();
  ++jobs_;
  tidy();
  Order order;
  order.job = job;
  for (std::uint32_t i = 0; i < job.target_count; ++i) {
    std::uint32_t& region = order.job.targets[i].region;
    if (!place(regions[region], region)) return Outcome::kNotTaken;
  }
  if (!send(forked_.socket.get(), &order, order_bytes(job.target_count))) return Outcome::kNotTaken;
  if (const auto all = std::exchange(processors_, std::nullopt)) {
    (void)sched_setaffinity(forked_.pid, sizeof *all, &*all);
  }
  const Outcome outcome = await(job, start, result);
  const Nanos cpu = cpu_now();
  result.cpu_ns = cpu - std::exchange(cpu_mark_, cpu);
  result.decode_ns = monotonic_now() - start;
  return outcome;
}

Outcome WorkerProcess::await(const DecodeJob& job, Nanos start, DecodeResult& result) {
  const int socket = forked_.socket.get();
  const Nanos cpu_limit = Nanos{job.limits.max_cpu_ms} * kMillisecond - job.cpu_used_ns;
  Nanos quiet = 0;  // time in which it neither ran nor wanted to
  Nanos looked = start;
  Nanos cpu_then = cpu_mark_;
  std::optional<Outcome> given_up;
  for (;;) {
    std::size_t bytes = sizeof result;
    switch (given_up ? poll_message(socket, &result, bytes) : receive(socket, &result, bytes)) {
      case Received::kMessage:
        return bytes == sizeof result ? Outcome::kAnswered : Outcome::kNonsense;
      case Received::kClosed:
        return Outcome::kDied;
      case Received::kNothing:
        break;
    }
    if (given_up) return *given_up;
    const Nanos now = monotonic_now();
    const Nanos cpu = cpu_now();
    if (cpu - cpu_mark_ > cpu_limit) return Outcome::kOverCpu;
    if (!wants_to_run(forked_.pid)) quiet += std::max<Nanos>(0, now - looked - (cpu - cpu_then));
    looked = now;
    cpu_then = cpu;
    // This thread may have been kept waiting as well, so a result that is there by now counts.
    if (quiet > hang_ns_ || now - start > std::max(kMostPatienceNs, hang_ns_)) {
      given_up = Outcome::kHung;
    }
  }
}

}  // namespace floodgate::sandbox
