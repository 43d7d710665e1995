#include "acceptor_peer.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace floodgate::acceptor {

Result<std::shared_ptr<Bell>> Bell::make() {
  Descriptor fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd.held()) {
    return Status(Code::kUnavailable, std::string("cannot create an eventfd: ") + std::strerror(errno));
  }
  return std::make_shared<Bell>(std::move(fd));
}

void Bell::ring() const { (void)eventfd_write(fd_.get(), 1); }

void Bell::silence() const {
  eventfd_t value = 0;
  (void)eventfd_read(fd_.get(), &value);
}

void Peer::answered(Done done) {
  const std::lock_guard lock(mu_);
  answers_.push_back(std::move(done));
  ring_locked();
}

// Nobody is woken for a release that can travel with the ticket's answer.
void Peer::released(std::uint64_t ticket, bool over, const std::optional<Sha256>& digest) {
  const std::lock_guard lock(mu_);
  releases_.emplace_back(ticket, digest);
  if (over) ring_locked();
}

void Peer::ring_locked() {
  if (!std::exchange(rung_, true)) bell_->ring();
}

AcceptorState Peer::state() const {
  AcceptorState state;
  state.connected = connected_.load();
  state.submitted = submitted_.load();
  state.refused = refused_.load();
  state.open = open_.load();
  state.held = held_.load();
  state.unsent_bytes = unsent_bytes_.load();
  return state;
}

bool Peer::fail(std::string reason) {
  reason_ = std::move(reason);
  return false;
}

bool Peer::read(Scheduler& scheduler, const HubOptions& options, std::uint64_t& next_ticket) {
  bool more = false;
  const bool there = stream_.fill(more);
  while (const auto message = stream_.next()) {
    if (!handle(*message, scheduler, options, next_ticket)) return false;
  }
  if (stream_.broken()) return fail("it sent a message that is too long");
  return there;
}

bool Peer::handle(const MessageStream::Message& message, Scheduler& scheduler, const HubOptions& options,
                  std::uint64_t& next_ticket) {
  if (message.kind == static_cast<std::uint32_t>(Kind::kSubmit)) {
    SubmitFields fields;
    if (!read_plain(message.bytes, fields)) return fail("it sent a submission of the wrong length");
    return submit(fields, scheduler, options, next_ticket);
  }
  if (message.kind == static_cast<std::uint32_t>(Kind::kCancel)) {
    TicketFields fields;
    if (!read_plain(message.bytes, fields)) return fail("it sent a cancellation of the wrong length");
    // Its answer may be on the way.
    const auto known = ours_.find(fields.ticket);
    if (known != ours_.end()) (void)scheduler.cancel(known->second);
    return true;
  }
  return fail("it sent a message that is none");
}

bool Peer::submit(const SubmitFields& fields, Scheduler& scheduler, const HubOptions& options,
                  std::uint64_t& next_ticket) {
  const auto& region = *scheduler.foreign_arenas()[acceptor_];
  Submission submission;
  if (ours_.contains(fields.ticket)) return fail("it used a ticket twice");
  Status taken = read_submit(fields, {options.ensembles.size(), region.bytes().size(), options.media_limits},
                             submission);
  if (taken.code() == Code::kInvalidArgument) return fail(taken.message());
  if (taken.ok()) {
    for (std::size_t i = 0; i < options.ensembles.size(); ++i) {
      if ((fields.ensembles >> i & 1U) != 0) submission.ensembles.push_back(options.ensembles[i]);
    }
    submission.foreign->arena = acceptor_;
    submission.foreign->submitter = shared_from_this();
    if (submission.modality == Modality::kText) {
      if (fields.size > options.max_text_bytes) return fail("it sent a text that is too long");
      // A copy: the acceptor can write there, and what is checked must be what is laid out.
      const auto text = region.bytes().subspan(fields.offset, fields.size);
      text_.assign(text.begin(), text.end());
      submission.data = text_;
    }
    const std::uint64_t ticket = next_ticket++;
    submission.ticket = ticket;
    // Its answer may be there before submit() is back.
    tickets_.emplace(ticket, Ticket{fields.ticket});
    ours_.emplace(fields.ticket, ticket);
    open_.fetch_add(1);
    held_.fetch_add(1);
    taken = scheduler.submit(submission);
    if (taken.ok()) {
      submitted_.fetch_add(1);
      return true;
    }
    tickets_.erase(ticket);
    ours_.erase(fields.ticket);
    open_.fetch_sub(1);
    held_.fetch_sub(1);
    const bool no_text = submission.modality == Modality::kText && taken.code() == Code::kInvalidContent;
    if (no_text) return fail("it sent a text that is none: " + taken.message());
  }
  refused_.fetch_add(1);
  stream_.pack().refused(fields.ticket, taken);
  return true;
}

void Peer::forget_if_over(Tickets::iterator ticket) {
  if (!ticket->second.answered || !ticket->second.released) return;
  tickets_.erase(ticket);
  held_.fetch_sub(1);
}

bool Peer::write(std::span<const std::string> ensembles, bool ready) {
  std::vector<Done> answers;
  std::vector<std::pair<std::uint64_t, std::optional<Sha256>>> releases;
  {
    const std::lock_guard lock(mu_);
    answers.swap(answers_);
    releases.swap(releases_);
    rung_ = false;
  }
  const bool connected = connected_.load();
  for (const Done& done : answers) {
    const auto ticket = tickets_.find(done.ticket);
    ticket->second.answered = true;
    ours_.erase(ticket->second.theirs);
    open_.fetch_sub(1);
    if (connected) stream_.pack().answer(ticket->second.theirs, done, ensembles);
    forget_if_over(ticket);
  }
  // After the answers: the digest of what nobody decoded is made by the acceptor, which needs the bytes.
  for (const auto& [number, digest] : releases) {
    const auto ticket = tickets_.find(number);
    ticket->second.released = true;
    if (connected) stream_.pack().released(ticket->second.theirs, digest);
    forget_if_over(ticket);
  }
  if (!connected) return true;
  if (said_ready_ != static_cast<int>(ready)) {
    said_ready_ = static_cast<int>(ready);
    stream_.pack().ready(ready);
  }
  const bool there = stream_.flush();
  unsent_bytes_ = stream_.unsent();
  return there;
}

void Peer::disconnect(Scheduler& scheduler) {
  if (!connected_.exchange(false)) return;
  stream_.close();
  unsent_bytes_ = 0;
  for (const auto& [theirs, ours] : ours_) (void)scheduler.cancel(ours);
}

}  // namespace floodgate::acceptor
