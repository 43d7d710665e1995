#include "floodgate/acceptor_link.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <unordered_map>
#include <utility>

#include "floodgate/arena.h"
#include "floodgate/text.h"
#include "message_stream.h"

namespace floodgate {

using acceptor::Kind;
using acceptor::MessageStream;

namespace {

Status invalid(const std::string& message) { return Status(Code::kInvalidArgument, message); }

}  // namespace

class AcceptorLink::Impl {
 public:
  Impl(LinkOptions options, std::shared_ptr<Arena> arena, Descriptor socket, Descriptor events)
      : options_(std::move(options)),
        arena_(std::move(arena)),
        stream_(std::move(socket), acceptor::kMostAnswerBytes),
        events_(std::move(events)) {
    for (const EnsembleConfig& each : options_.ensembles) {
      ensembles_.push_back(std::make_shared<const EnsembleConfig>(each));
    }
  }

  Status submit(const Part& part) {
    Status taken = take(part);
    if (!taken.ok()) {
      stats_.bytes_received += part.data.size();
      ++stats_.refused[static_cast<std::size_t>(taken.code())];
    }
    return taken;
  }

  void cancel(std::uint64_t ticket) {
    if (!connected_ || !open_.contains(ticket)) return;
    stream_.pack().cancel(ticket);
    push();
  }

  std::vector<Done> poll() {
    std::vector<Done> done;
    bool more = connected_;
    while (more && connected_) {
      if (!stream_.fill(more)) hang_up();
      while (const auto message = stream_.next()) {
        if (!read(*message, done)) hang_up();
      }
      if (stream_.broken()) hang_up();
    }
    push();
    if (!connected_) {
      for (auto& [ticket, held] : open_) {
        if (held.answered) continue;
        Done lost;
        leave_digest(held, lost);
        lost.ticket = ticket;
        lost.code = Code::kUnavailable;
        lost.message = "the scheduler's process is gone";
        done.push_back(std::move(lost));
      }
      open_.clear();
    }
    return done;
  }

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] bool ready() const { return connected_ && ready_; }
  [[nodiscard]] bool greeted() const { return greeted_; }
  [[nodiscard]] int fd() const { return events_.get(); }
  [[nodiscard]] LinkStats stats() const {
    LinkStats stats = stats_;
    stats.arena_used_bytes = arena_->used_bytes();
    stats.open_tickets = open_.size();
    return stats;
  }

  // Watches the socket, for room too while something is to be sent.
  bool watch(bool first) {
    epoll_event event{};
    event.events = EPOLLIN | (stream_.unsent() > 0 ? EPOLLOUT : 0U);
    return epoll_ctl(events_.get(), first ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, stream_.socket(), &event) == 0;
  }

 private:
  struct Held {
    std::shared_ptr<ArenaLease> lease;
    bool answered = false;
    std::optional<Sha256> digest;  // once released
  };

  Status take(const Part& part) {
    if (!connected_) return {Code::kUnavailable, "the scheduler's process is gone"};
    if (open_.contains(part.ticket))
      return invalid("ticket " + std::to_string(part.ticket) + " is open already");
    if (part.ensembles == 0 || std::uint64_t{part.ensembles} >> ensembles_.size() != 0) {
      return invalid("a ticket wants at least one ensemble, and none that is not there");
    }
    if (part.plan.max_frames < 1 || part.plan.max_frames > kMaxPlannedFrames) {
      return invalid("max_frames must be from 1 to " + std::to_string(kMaxPlannedFrames));
    }
    if (part.deadline_ns <= monotonic_now()) {
      return {Code::kDeadlineExceeded, "the deadline has passed before the work began"};
    }
    acceptor::SubmitFields fields;
    if (part.modality == Modality::kImage) {
      auto info = options_.probe(part.data, options_.media_limits);
      if (!info.ok()) return info.status();
      fields.info = acceptor::fields_of(info.value());
    } else if (Status checked = check_text(part.data, options_.max_text_bytes); !checked.ok()) {
      return checked;
    }
    auto lease = copy(part);
    if (!lease.ok()) return lease.status();
    fields.ticket = part.ticket;
    fields.offset = lease.value().block().offset;
    fields.size = part.data.size();
    fields.deadline_ns = part.deadline_ns;
    fields.seed = part.plan.seed;
    fields.max_frames = part.plan.max_frames;
    fields.min_interval_ms = part.plan.min_interval_ms;
    fields.ensembles = part.ensembles;
    fields.modality = static_cast<std::uint8_t>(part.modality);
    fields.lane = static_cast<std::uint8_t>(part.lane);
    open_.emplace(part.ticket, Held{std::make_shared<ArenaLease>(std::move(lease).value()), false, {}});
    stream_.pack().submit(fields);
    push();
    return {};
  }

  Result<ArenaLease> copy(const Part& part) {
    const std::uint64_t room = lane_share(part.lane, arena_->capacity_bytes(), options_.live_reserve);
    const std::uint64_t bytes = part.data.size();
    if (bytes > room) {
      return Status(Code::kTooLarge, "the data has " + std::to_string(bytes) +
                                         " bytes; the server takes at most " + std::to_string(room));
    }
    if (arena_->used_bytes() + bytes > room) {
      return Status(Code::kOverloaded, "no room for " + std::to_string(bytes) + " bytes of encoded media");
    }
    if (stream_.unsent() > options_.most_unsent_bytes) {
      return Status(Code::kOverloaded, "the scheduler's process does not keep up");
    }
    auto lease = arena_->allocate(bytes);
    if (lease.ok()) std::ranges::copy(part.data, arena_->bytes(lease.value().block()).begin());
    return lease;
  }

  // False: the other end breaks the protocol.
  bool read(const MessageStream::Message& message, std::vector<Done>& done) {
    switch (static_cast<Kind>(message.kind)) {
      case Kind::kReady: {
        std::uint64_t is_ready = 0;
        if (!acceptor::read_plain(message.bytes, is_ready)) return false;
        ready_ = is_ready != 0;
        greeted_ = true;
        return true;
      }
      case Kind::kReleased: {
        acceptor::ReleasedFields fields;
        if (!acceptor::read_plain(message.bytes, fields)) return false;
        const auto held = open_.find(fields.ticket);
        if (held == open_.end()) return false;
        held->second.digest = acceptor::digest_of(fields.digest);
        held->second.lease.reset();
        if (held->second.answered) open_.erase(held);
        return true;
      }
      case Kind::kAnswer:
        return settle(acceptor::read_answer(message.bytes, ensembles_), false, done);
      case Kind::kRefused:
        return settle(acceptor::read_refused(message.bytes), true, done);
      default:
        return false;
    }
  }

  bool settle(Result<Done> answer, bool refused, std::vector<Done>& done) {
    if (!answer.ok()) return false;
    const auto held = open_.find(answer.value().ticket);
    if (held == open_.end() || held->second.answered) return false;
    held->second.answered = true;
    Done& it = answer.value();
    // What is short of room is to be refused at little cost, and has no record.
    if (!it.digest && it.code != Code::kCancelled && it.code != Code::kOverloaded) {
      leave_digest(held->second, it);
    }
    if (refused || held->second.lease == nullptr) open_.erase(held);
    done.push_back(std::move(answer).value());
    return true;
  }

  // To the answer of a part that the scheduler's process has not told the digest of with it.
  static void leave_digest(const Held& held, Done& done) {
    done.digest = held.digest;
    if (held.lease != nullptr && held.lease->block().size <= kMostDigestedBytes) done.undigested = held.lease;
  }

  void push() {
    if (!connected_) return;
    const bool had_to_wait = waiting_;
    if (!stream_.flush()) return hang_up();
    waiting_ = stream_.unsent() > 0;
    if (waiting_ != had_to_wait && !watch(false)) hang_up();
  }

  // The descriptor stays open, and with it readable, until the link goes: poll() has more to say. The hub
  // hears of it at once.
  void hang_up() {
    connected_ = false;
    (void)shutdown(stream_.socket(), SHUT_RDWR);
  }

  const LinkOptions options_;
  const std::shared_ptr<Arena> arena_;
  acceptor::Ensembles ensembles_;
  std::unordered_map<std::uint64_t, Held> open_;  // unanswered, or answered while somebody reads the bytes
  MessageStream stream_;
  const Descriptor events_;
  bool connected_ = true;
  bool ready_ = false;
  bool greeted_ = false;
  bool waiting_ = false;  // for room to send
  LinkStats stats_;
};

AcceptorLink::AcceptorLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AcceptorLink::~AcceptorLink() = default;

Result<std::unique_ptr<AcceptorLink>> AcceptorLink::create(LinkOptions options) {
  Descriptor socket(options.socket);
  auto region = SharedRegion::adopt(options.arena_fd, options.arena_bytes);
  if (!region.ok()) return region.status();
  if (!(options.live_reserve >= 0 && options.live_reserve < 1)) {
    return invalid("live_reserve must be at least 0 and below 1");
  }
  if (options.ensembles.empty() || options.ensembles.size() > kMaxEnsembles) {
    return invalid("a link serves from 1 to 32 ensembles");
  }
  if (!options.probe) options.probe = probe;
  Descriptor events(epoll_create1(EPOLL_CLOEXEC));
  if (!events.held()) {
    return Status(Code::kUnavailable, std::string("cannot create an epoll: ") + std::strerror(errno));
  }
  auto impl = std::make_unique<Impl>(std::move(options), Arena::over(std::move(region).value()),
                                     std::move(socket), std::move(events));
  if (!impl->watch(true))
    return invalid(std::string("the socket cannot be watched: ") + std::strerror(errno));
  return std::unique_ptr<AcceptorLink>(new AcceptorLink(std::move(impl)));
}

Status AcceptorLink::submit(const Part& part) { return impl_->submit(part); }
void AcceptorLink::cancel(std::uint64_t ticket) { impl_->cancel(ticket); }
std::vector<Done> AcceptorLink::poll() { return impl_->poll(); }
bool AcceptorLink::connected() const { return impl_->connected(); }
bool AcceptorLink::ready() const { return impl_->ready(); }
bool AcceptorLink::greeted() const { return impl_->greeted(); }
int AcceptorLink::fd() const { return impl_->fd(); }
LinkStats AcceptorLink::stats() const { return impl_->stats(); }

}  // namespace floodgate
