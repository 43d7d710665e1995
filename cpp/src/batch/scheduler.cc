#include "floodgate/scheduler.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <utility>

#include "core.h"

namespace floodgate {
namespace {

Status invalid(const std::string& message) { return Status(Code::kInvalidArgument, message); }

constexpr Nanos kLongestServiceNs = 3600 * kSecond;

Status check(const SchedulerOptions& options) {
  double floors = 0;
  for (const double floor : options.lane_floors) {
    if (!(floor >= 0 && floor <= 1)) return invalid("lane_floors: every floor must be from 0 to 1");
    floors += floor;
  }
  if (floors > 1) return invalid("lane_floors: together they must be at most 1");
  if (options.max_wait_ns <= 0) return invalid("max_wait_ns must be above 0");
  if (options.decode_workers < 1 || options.decode_workers > 256) {
    return invalid("decode_workers must be from 1 to 256, not " + std::to_string(options.decode_workers));
  }
  if (options.arena_bytes == 0) return invalid("arena_bytes must be at least 1");
  if (options.max_queue_rows == 0) return invalid("max_queue_rows must be at least 1");
  if (!(options.live_reserve >= 0 && options.live_reserve < 1)) {
    return invalid("live_reserve must be at least 0 and below 1");
  }
  if (options.quarantine_cap == 0) return invalid("quarantine_cap must be at least 1");
  if (options.max_text_bytes == 0 || options.max_text_bytes > UINT32_MAX) {
    return invalid("max_text_bytes must be from 1 to 4294967295");
  }
  const auto plausible = [](double ns) { return ns >= 0 && ns <= static_cast<double>(kLongestServiceNs); };
  if (!plausible(options.initial_model.fixed_ns) || !plausible(options.initial_model.per_row_ns)) {
    return invalid("initial_model: both terms must be from 0 to 1 hour");
  }
  return {};
}

// New threads inherit the mask: signals are for the threads of whoever embeds the core.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_{};
};

// As `ps` and /proc show it; at most 15 characters. A name that is refused is no reason not to work.
void name_thread(std::thread& thread, const char* name) {
  (void)pthread_setname_np(thread.native_handle(), name);
}

}  // namespace

Scheduler::Scheduler(std::unique_ptr<Core> core) : core_(std::move(core)) {}
Scheduler::~Scheduler() = default;

Result<std::unique_ptr<Scheduler>> Scheduler::create(SchedulerOptions options) {
  if (Status checked = check(options); !checked.ok()) return checked;
  if (!options.probe) options.probe = probe;
  auto arena = Arena::create(options.arena_bytes);
  if (!arena.ok()) return arena.status();
  const int event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (event_fd < 0) {
    return Status(Code::kUnavailable, std::string("cannot create an eventfd: ") + std::strerror(errno));
  }
  auto core = std::make_unique<Core>(std::move(options), std::move(arena).value(), event_fd);
  if (Status made = core->make_workers(); !made.ok()) return made;
  if (Status started = core->start(); !started.ok()) return started;
  return std::unique_ptr<Scheduler>(new Scheduler(std::move(core)));
}

Status Scheduler::configure(std::uint64_t generation, std::vector<EnsembleConfig> ensembles) {
  return core_->configure(generation, std::move(ensembles));
}
Status Scheduler::submit(const Submission& submission) { return core_->submit(submission); }
bool Scheduler::cancel(std::uint64_t ticket) { return core_->cancel(ticket); }
std::vector<Batch> Scheduler::take_batches() { return core_->take_batches(); }
Status Scheduler::complete(std::uint64_t batch_id, std::span<const OutputValues> outputs,
                           std::span<const HeadFailure> failures) {
  return core_->complete(batch_id, outputs, failures);
}
Status Scheduler::fail_batch(std::uint64_t batch_id, Code code, const std::string& message) {
  return core_->fail_batch(batch_id, code, message);
}
Status Scheduler::quarantine(std::uint64_t batch_id) { return core_->quarantine(batch_id); }
Status Scheduler::region_lost(std::optional<std::uint64_t> generation) {
  return core_->region_lost(generation);
}
std::vector<Done> Scheduler::poll_done() { return core_->poll_done(); }
void Scheduler::drain() { core_->drain(); }
int Scheduler::fd() const { return core_->fd(); }
Stats Scheduler::stats() const { return core_->stats(); }
Status Scheduler::audit() const { return core_->audit(); }
const std::vector<std::shared_ptr<SharedRegion>>& Scheduler::foreign_arenas() const {
  return core_->options().foreign_arenas;
}

Scheduler::Core::Core(SchedulerOptions options, std::shared_ptr<Arena> arena, int event_fd)
    : options_(std::move(options)),
      event_fd_(event_fd),
      arena_(std::move(arena)),
      queue_(options_.lane_floors),
      worker_states_(options_.decode_workers) {}

Status Scheduler::Core::make_workers() {
  std::vector<ArenaPiece> foreign;
  for (const auto& region : options_.foreign_arenas)
    foreign.push_back({region->fd(), region->bytes().size()});
  if (!foreign.empty()) {
    std::vector<ArenaPiece> all = {{arena_->fd(), arena_->capacity_bytes()}};
    all.insert(all.end(), foreign.begin(), foreign.end());
    auto mapped = ArenaSpace::map(all);
    if (!mapped.ok()) return mapped.status();
    arenas_ = std::move(mapped).value();
  }
  if (options_.workers) {
    decode_workers_ = options_.workers(readable());
  } else if (options_.sandbox) {
    SandboxOptions sandbox = *options_.sandbox;
    sandbox.arena_fd = arena_->fd();
    sandbox.arena_bytes = arena_->capacity_bytes();
    sandbox.more_arenas = std::move(foreign);
    auto workers = sandboxed_workers(sandbox);
    if (!workers.ok()) return workers.status();
    decode_workers_ = std::move(workers).value();
  } else {
    decode_workers_ = thread_workers(readable(), options_.decode);
  }
  if (options_.device) {
    decode_workers_ =
        device_workers(options_.device, std::move(decode_workers_), readable(), arena_->capacity_bytes());
  }
  for (std::uint32_t i = 0; i < options_.decode_workers; ++i) {
    auto worker = decode_workers_->make_worker();
    if (!worker.ok()) return worker.status();
    workers_.push_back(std::move(worker).value());
  }
  return {};
}

std::span<const std::uint8_t> Scheduler::Core::readable() const {
  return arenas_ != nullptr ? arenas_->bytes() : arena_->all_bytes();
}

Status Scheduler::Core::start() {
  const SignalsBlocked blocked;
  try {
    threads_.reserve(std::size_t{1} + options_.decode_workers);
    threads_.emplace_back([this] { dispatch(); });
    name_thread(threads_.back(), "fg-dispatch");
    for (std::uint32_t worker = 0; worker < options_.decode_workers; ++worker) {
      const bool live_only = worker == 0 && reserves_first_worker();
      threads_.emplace_back([this, worker, live_only] { work(worker, live_only); });
      name_thread(threads_.back(), "fg-decode");
    }
  } catch (const std::exception& error) {
    return {Code::kUnavailable, std::string("cannot start the decode workers: ") + error.what()};
  }
  return {};
}

Scheduler::Core::~Core() {
  {
    const std::lock_guard lock(mu_);
    stopping_ = true;
  }
  work_cv_.notify_all();
  dispatch_cv_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  close(event_fd_);
}

void Scheduler::Core::drain() {
  const std::lock_guard lock(mu_);
  draining_ = true;
}

Stats Scheduler::Core::stats() const {
  Stats stats;
  const std::lock_guard lock(mu_);
  stats.counters = counters_;
  for (const Lane lane : {Lane::kStandard, Lane::kLive, Lane::kBulk}) {
    stats.queued_rows[lane_index(lane)] = queue_.rows(lane);
    stats.lane_guards[lane_index(lane)] = lane_guards_.factor(lane);
  }
  stats.open_tickets = tickets_.size();
  stats.waiting_decode_ns = decode_backlog_.total();
  stats.sandboxed = options_.sandbox.has_value();
  stats.worker_losses = decode_workers_->losses();
  if (options_.device) stats.device = options_.device->stats();
  std::uint64_t capacity = arena_->capacity_bytes();
  for (const auto& region : options_.foreign_arenas) capacity += region->bytes().size();
  stats.arena_used_bytes = arena_->used_bytes() + foreign_bytes_;
  stats.arena_free_bytes = capacity - std::min(capacity, stats.arena_used_bytes);
  std::size_t unanswered = 0;
  for (const auto& generation : generations_) {
    for (const auto& ensemble : generation->ensembles) {
      unanswered += ensemble->open.size();
      EnsembleStats each;
      each.generation = generation->number;
      each.ensemble = ensemble->config->name;
      each.retired = generation->retired;
      for (std::size_t state = 0; state < kBufferStates; ++state) {
        each.buffers[state] = ensemble->pool->count(static_cast<BufferState>(state));
      }
      each.ready_rows = ensemble->ready;
      each.decoding_rows = ensemble->decoding;
      each.waiting_rows = ensemble->backlog.total();
      each.model = ensemble->fit.model();
      stats.ensembles.push_back(std::move(each));
    }
  }
  stats.draining = draining_;
  stats.drained = draining_ && tickets_.empty() && unanswered == 0;
  return stats;
}

}  // namespace floodgate
