#include "floodgate/acceptor_hub.h"

#include <pthread.h>
#include <sys/epoll.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "acceptor_peer.h"

namespace floodgate {

using acceptor::Bell;
using acceptor::Peer;

namespace {

constexpr std::uint64_t kBellMark = UINT64_MAX;
// Out of the way of the tickets that the scheduler's own process submits.
constexpr std::uint64_t kFirstTicket = std::uint64_t{1} << 62;

Status unavailable(const std::string& what) { return Status(Code::kUnavailable, what); }

}  // namespace

class AcceptorHub::Impl {
 public:
  Impl(Scheduler& scheduler, HubOptions options, std::shared_ptr<Bell> bell, Descriptor events)
      : scheduler_(scheduler),
        options_(std::move(options)),
        bell_(std::move(bell)),
        events_(std::move(events)),
        acceptors_(scheduler.foreign_arenas().size()) {}

  ~Impl() {
    {
      const std::lock_guard lock(mu_);
      stopping_ = true;
    }
    bell_->ring();
    if (thread_.joinable()) thread_.join();
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  Status start() {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = kBellMark;
    if (epoll_ctl(events_.get(), EPOLL_CTL_ADD, bell_->fd(), &event) != 0) {
      return unavailable(std::string("cannot watch an eventfd: ") + std::strerror(errno));
    }
    // Signals are for the threads of whoever embeds the core.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    Status started;
    try {
      thread_ = std::thread([this] { run(); });
      (void)pthread_setname_np(thread_.native_handle(), "fg-acceptors");
    } catch (const std::exception& error) {
      started = unavailable(std::string("cannot start a thread: ") + error.what());
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
  }

  Status attach(std::size_t acceptor, Descriptor socket) {
    const std::lock_guard lock(mu_);
    if (acceptor >= acceptors_.size()) return {Code::kInvalidArgument, "there is no such acceptor"};
    Slot& slot = acceptors_[acceptor];
    const auto& peer = slot.peer;
    if (peer != nullptr && peer->connected()) return unavailable("the acceptor is connected");
    if (peer != nullptr && !peer->quiet()) return unavailable("the acceptor's arena is still being read");
    auto fresh = std::make_shared<Peer>(acceptor, bell_, std::move(socket));
    fresh->watched = EPOLLIN;
    epoll_event event{};
    event.events = fresh->watched;
    event.data.u64 = acceptor;
    if (epoll_ctl(events_.get(), EPOLL_CTL_ADD, fresh->socket(), &event) != 0) {
      return unavailable(std::string("cannot watch an acceptor: ") + std::strerror(errno));
    }
    slot.past = total(slot);
    slot.peer = std::move(fresh);
    slot.reason.clear();
    bell_->ring();  // it is to hear whether the inference server is ready
    return {};
  }

  void detach(std::size_t acceptor) {
    const std::lock_guard lock(mu_);
    if (acceptor >= acceptors_.size() || acceptors_[acceptor].peer == nullptr) return;
    acceptors_[acceptor].peer->unwanted = true;
    bell_->ring();
  }

  void set_ready(bool ready) {
    const std::lock_guard lock(mu_);
    if (ready_ == ready) return;
    ready_ = ready;
    bell_->ring();
  }

  [[nodiscard]] std::vector<AcceptorState> states() const {
    const std::lock_guard lock(mu_);
    std::vector<AcceptorState> states;
    for (const Slot& slot : acceptors_) {
      states.push_back(total(slot));
      states.back().reason = slot.reason;
    }
    return states;
  }

 private:
  struct Slot {
    std::shared_ptr<Peer> peer;
    AcceptorState past;  // counters of the peers before
    std::string reason;
  };

  static AcceptorState total(const Slot& slot) {
    AcceptorState state = slot.peer == nullptr ? AcceptorState{} : slot.peer->state();
    state.submitted += slot.past.submitted;
    state.refused += slot.past.refused;
    return state;
  }

  // What the thread works with in one turn.
  struct Turn {
    std::vector<std::shared_ptr<Peer>> peers;  // null: never connected
    bool ready = false;
    bool stopping = false;
  };

  Turn turn() {
    const std::lock_guard lock(mu_);
    Turn turn{{}, ready_, stopping_};
    for (const Slot& slot : acceptors_) turn.peers.push_back(slot.peer);
    return turn;
  }

  void run() {
    std::array<epoll_event, 64> ready{};
    for (;;) {
      const int count = epoll_wait(events_.get(), ready.data(), ready.size(), -1);
      // Before looking at what it rang for: what is said from here on rings again.
      bell_->silence();
      const Turn now = turn();
      for (int i = 0; i < count; ++i) {
        const epoll_event& event = ready[static_cast<std::size_t>(i)];
        if (event.data.u64 < now.peers.size()) read(now, event.data.u64, event.events);
      }
      for (std::size_t acceptor = 0; acceptor < now.peers.size(); ++acceptor) write(now, acceptor);
      if (now.stopping) {
        for (std::size_t acceptor = 0; acceptor < now.peers.size(); ++acceptor) disconnect(now, acceptor, "");
        return;
      }
    }
  }

  void read(const Turn& now, std::size_t acceptor, std::uint32_t events) {
    Peer* peer = now.peers[acceptor].get();
    if (peer == nullptr || !peer->connected() || (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
    // What is congested is read no further, unless it is over.
    if (congested(*peer) && (events & (EPOLLHUP | EPOLLERR)) == 0) return;
    if (!peer->read(scheduler_, options_, next_ticket_)) {
      disconnect(now, acceptor, peer->reason());
    }
  }

  void write(const Turn& now, std::size_t acceptor) {
    Peer* peer = now.peers[acceptor].get();
    if (peer == nullptr) return;
    if (!peer->write(options_.ensembles, now.ready) || (peer->unwanted && peer->connected())) {
      disconnect(now, acceptor, "");
    }
    if (!peer->connected()) return;
    const std::uint32_t wanted =
        (congested(*peer) ? 0U : EPOLLIN) | (peer->unsent_bytes() > 0 ? EPOLLOUT : 0U);
    if (wanted == peer->watched) return;
    peer->watched = wanted;
    epoll_event event{};
    event.events = wanted;
    event.data.u64 = acceptor;
    (void)epoll_ctl(events_.get(), EPOLL_CTL_MOD, peer->socket(), &event);
  }

  // So much is unsent that nothing more is read from it.
  [[nodiscard]] bool congested(const Peer& peer) const {
    return peer.unsent_bytes() > options_.most_unsent_bytes;
  }

  // Closing its socket also takes it out of the epoll set.
  void disconnect(const Turn& now, std::size_t acceptor, const std::string& reason) {
    Peer* peer = now.peers[acceptor].get();
    if (peer == nullptr || !peer->connected()) return;
    {
      const std::lock_guard lock(mu_);
      acceptors_[acceptor].reason = reason;
    }
    peer->disconnect(scheduler_);
    (void)peer->write(options_.ensembles, now.ready);
  }

  Scheduler& scheduler_;
  const HubOptions options_;
  const std::shared_ptr<Bell> bell_;
  const Descriptor events_;
  std::uint64_t next_ticket_ = kFirstTicket;  // the thread's own

  mutable std::mutex mu_;
  // Guarded by mu_.
  std::vector<Slot> acceptors_;
  bool ready_ = false;
  bool stopping_ = false;

  std::thread thread_;  // started last, joined first
};

AcceptorHub::AcceptorHub(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AcceptorHub::~AcceptorHub() = default;

Result<std::unique_ptr<AcceptorHub>> AcceptorHub::create(Scheduler& scheduler, HubOptions options) {
  if (scheduler.foreign_arenas().empty()) {
    return Status(Code::kInvalidArgument, "the scheduler has no arena for an acceptor");
  }
  if (options.ensembles.empty() || options.ensembles.size() > kMaxEnsembles) {
    return Status(Code::kInvalidArgument, "acceptors are served from 1 to 32 ensembles");
  }
  auto bell = Bell::make();
  if (!bell.ok()) return bell.status();
  Descriptor events(epoll_create1(EPOLL_CLOEXEC));
  if (!events.held()) return unavailable(std::string("cannot create an epoll: ") + std::strerror(errno));
  auto impl =
      std::make_unique<Impl>(scheduler, std::move(options), std::move(bell).value(), std::move(events));
  if (Status started = impl->start(); !started.ok()) return started;
  return std::unique_ptr<AcceptorHub>(new AcceptorHub(std::move(impl)));
}

Status AcceptorHub::attach(std::size_t acceptor, int socket) {
  return impl_->attach(acceptor, Descriptor(socket));
}
void AcceptorHub::detach(std::size_t acceptor) { impl_->detach(acceptor); }
void AcceptorHub::set_ready(bool ready) { impl_->set_ready(ready); }
std::vector<AcceptorState> AcceptorHub::states() const { return impl_->states(); }

}  // namespace floodgate
