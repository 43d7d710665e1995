#include <algorithm>
#include <map>
#include <utility>

#include "core.h"

namespace floodgate {
namespace {

Status invalid(const std::string& message) { return Status(Code::kInvalidArgument, message); }

std::uint64_t size_bytes(const Submission& submission) {
  return submission.foreign ? submission.foreign->block.size : submission.data.size();
}

// Of a foreign text, whose submitter gets its bytes back at once, and the digest with them.
void digest_text(std::span<const std::uint8_t> text, Ticket& ticket) {
  ticket.digest_claimed = true;
  const auto digest = text.size() <= kMostDigestedBytes ? sha256(text) : std::nullopt;
  if (!digest) return;
  ticket.sha256 = *digest;
  ticket.digested.store(true, std::memory_order_release);
}

}  // namespace

std::uint64_t lane_share(Lane lane, std::uint64_t limit, double live_reserve) {
  if (lane == Lane::kLive) return limit;
  return std::max<std::uint64_t>(1,
                                 static_cast<std::uint64_t>(static_cast<double>(limit) * (1 - live_reserve)));
}

Status Scheduler::Core::refuse(Status status) {
  const std::lock_guard lock(mu_);
  ++counters_.refused[static_cast<std::size_t>(status.code())];
  return status;
}

Status Scheduler::Core::lay_out_text(const Submission& submission, Ticket& ticket) const {
  if (Status checked = check_text(submission.data, options_.max_text_bytes); !checked.ok()) return checked;
  // Ensembles with rows of one length share rows; others get their own.
  std::map<std::int32_t, std::vector<std::size_t>> by_length;
  for (std::size_t i = 0; i < ticket.ensembles.size(); ++i) {
    const auto& view = std::get<TextView>(ticket.ensembles[i]->config->tensors.front().view);
    by_length[view.max_bytes()].push_back(i);
  }
  for (const auto& [length, readers] : by_length) {
    for (const TextSpan& span : split_text(submission.data, static_cast<std::uint32_t>(length))) {
      TicketRow row;
      row.span = span;
      row.cells.resize(ticket.ensembles.size());
      for (const std::size_t reader : readers) row.cells[reader].state = CellState::kWaiting;
      ticket.rows.push_back(std::move(row));
    }
  }
  return {};
}

Result<std::shared_ptr<Ticket>> Scheduler::Core::expand(const Submission& submission,
                                                        Generation& generation) const {
  auto ticket = std::make_shared<Ticket>();
  ticket->id = submission.ticket;
  ticket->modality = submission.modality;
  ticket->lane = submission.lane;
  ticket->deadline_ns = submission.deadline_ns;
  ticket->generation = &generation;
  if (submission.foreign) {
    ticket->submitter = submission.foreign->submitter;
    ticket->foreign = submission.modality != Modality::kText;
  }
  std::size_t targets = 0;
  for (const std::string& name : submission.ensembles) {
    const auto found = std::find_if(generation.ensembles.begin(), generation.ensembles.end(),
                                    [&](const auto& ensemble) { return ensemble->config->name == name; });
    if (found == generation.ensembles.end()) {
      return invalid("there is no ensemble " + name + " in generation " + std::to_string(generation.number));
    }
    Ensemble* ensemble = found->get();
    if (ensemble->config->modality != submission.modality) {
      return invalid("ensemble " + name + " is of another modality than the data");
    }
    if (std::find(ticket->ensembles.begin(), ticket->ensembles.end(), ensemble) != ticket->ensembles.end()) {
      return invalid("ensemble " + name + " is wanted twice");
    }
    ticket->ensembles.push_back(ensemble);
    targets += ensemble->config->tensors.size();
  }
  if (ticket->ensembles.empty()) return invalid("a ticket wants at least one ensemble");
  if (submission.plan.max_frames < 1 || submission.plan.max_frames > kMaxPlannedFrames) {
    return invalid("max_frames must be from 1 to " + std::to_string(kMaxPlannedFrames));
  }
  if (targets > kMaxTargets) {
    return invalid("a ticket wants " + std::to_string(targets) + " views; the limit is " +
                   std::to_string(kMaxTargets));
  }
  if (submission.modality == Modality::kText) {
    if (Status laid = lay_out_text(submission, *ticket); !laid.ok()) return laid;
  } else {
    if (submission.foreign) {
      ticket->info = submission.foreign->info;
    } else {
      auto info = options_.probe(submission.data, options_.media_limits);
      if (!info.ok()) return info.status();
      ticket->info = info.value();
    }
    ticket->plan = submission.plan;
    TicketRow row;
    row.cells.resize(ticket->ensembles.size());
    for (Cell& cell : row.cells) cell.state = CellState::kWaiting;
    std::uint32_t frames = ticket->is_sequence() ? submission.plan.max_frames : 1;
    if (ticket->info.frames > 1) frames = std::min(frames, ticket->info.frames);
    ticket->rows.assign(frames, row);
  }
  for (const TicketRow& row : ticket->rows) {
    ticket->open_cells +=
        static_cast<std::size_t>(std::count_if(row.cells.begin(), row.cells.end(), [](const Cell& cell) {
          return cell.state != CellState::kUnwanted;
        }));
  }
  return ticket;
}

Status Scheduler::Core::admit_locked(const Submission& submission, Ticket& ticket, Nanos now) {
  if (draining_) return Status(Code::kUnavailable, "the server is draining and takes no new work");
  if (tickets_.contains(submission.ticket)) {
    return invalid("ticket " + std::to_string(submission.ticket) + " is open already");
  }
  const std::uint64_t rows = ticket.rows.size();
  const std::uint64_t room = lane_share(submission.lane, options_.max_queue_rows, options_.live_reserve);
  // What could never fit is the content's fault; trying again later would not help.
  if (rows > room) {
    return Status(Code::kTooLarge,
                  "the part makes " + std::to_string(rows) + " rows; the limit is " + std::to_string(room));
  }
  const std::uint64_t bytes = lane_share(submission.lane, arena_->capacity_bytes(), options_.live_reserve);
  if (!ticket.foreign && submission.data.size() > bytes) {
    return Status(Code::kTooLarge, "the data has " + std::to_string(submission.data.size()) +
                                       " bytes; the server takes at most " + std::to_string(bytes));
  }
  if (queue_.rows() + admitting_rows_ + rows > room) {
    return Status(Code::kOverloaded, "the queue is full: " + std::to_string(queue_.rows() + admitting_rows_) +
                                         " rows wait for their decode");
  }
  if (!ticket.foreign && arena_->used_bytes() + submission.data.size() > bytes) {
    return Status(Code::kOverloaded,
                  "no room for " + std::to_string(submission.data.size()) + " bytes of encoded media");
  }
  const auto stuck = [&](const Ensemble* ensemble) {
    const std::uint32_t held = ensemble->pool->count(BufferState::kQuarantined);
    return held >= std::min(options_.quarantine_cap, ensemble->pool->size());
  };
  if (std::all_of(ticket.ensembles.begin(), ticket.ensembles.end(), stuck)) {
    return Status(Code::kUnavailable,
                  "the inference server does not answer: " + ticket.ensembles.front()->config->name +
                      " has no memory left to wait");
  }
  for (TicketRow& row : ticket.rows) {
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      Cell& cell = row.cells[i];
      if (cell.state == CellState::kUnwanted || !stuck(ticket.ensembles[i])) continue;
      cell.scores = all_missing(ticket.ensembles[i]->config, "unavailable");
      cell.state = CellState::kAnswered;
      --ticket.open_cells;
    }
  }
  ticket.skip_answered_rows();
  return fits_locked(ticket, now);
}

Result<ArenaLease> Scheduler::Core::copy(std::span<const std::uint8_t> data) {
  auto lease = arena_->allocate(data.size());
  if (lease.ok()) std::copy(data.begin(), data.end(), arena_->bytes(lease.value().block()).begin());
  return lease;
}

Status Scheduler::Core::submit(const Submission& submission) {
  const Nanos now = monotonic_now();
  Generation* generation = nullptr;
  {
    const std::lock_guard lock(mu_);
    counters_.bytes_received += size_bytes(submission);
    if (!generations_.empty()) {
      generation = generations_.back().get();
      ++generation->pins;
    }
  }
  if (generation == nullptr) return refuse(invalid("no generation is configured"));

  const auto expanded = submission.deadline_ns <= now
                            ? Result<std::shared_ptr<Ticket>>(Status(
                                  Code::kDeadlineExceeded, "the deadline has passed before the work began"))
                            : expand(submission, *generation);
  const auto unpin_locked = [&] {
    --generation->pins;
    if (generation->retired) wake_dispatcher_locked();
  };
  const std::shared_ptr<Ticket> ticket = expanded.ok() ? expanded.value() : nullptr;
  {
    const std::lock_guard lock(mu_);
    Status admitted = ticket != nullptr ? admit_locked(submission, *ticket, now) : expanded.status();
    if (!admitted.ok()) {
      if (admitted.retry_after_ns() > 0) ++counters_.refused_late;
      ++counters_.refused[static_cast<std::size_t>(admitted.code())];
      unpin_locked();
      return admitted;
    }
    tickets_.emplace(ticket->id, ticket);
    ticket->copied_bytes = size_bytes(submission);
    admitting_rows_ += ticket->rows.size();
    owe_locked(*ticket);
  }

  auto lease = ticket->foreign ? Result<ArenaLease>(ArenaLease()) : copy(submission.data);
  if (ticket->submitter != nullptr && !ticket->foreign) digest_text(submission.data, *ticket);

  const std::lock_guard lock(mu_);
  unpin_locked();
  admitting_rows_ -= ticket->rows.size();
  if (!lease.ok()) {
    tickets_.erase(ticket->id);
    settle_all_locked(*ticket);
    ++counters_.refused[static_cast<std::size_t>(lease.status().code())];
    return lease.status();
  }
  if (ticket->foreign) {
    const ForeignBytes& foreign = *submission.foreign;
    ticket->encoded = {arenas_->start(1 + foreign.arena) + foreign.block.offset, foreign.block.size};
    foreign_bytes_ += foreign.block.size;
  } else {
    ticket->lease = std::make_shared<ArenaLease>(std::move(lease).value());
    ticket->encoded = ticket->lease->block();
    if (ticket->submitter != nullptr) ticket->submitter->released(ticket->id, false, ticket->digest());
  }
  ticket->submitted_ns = now;
  ticket->serial = next_serial_++;
  counters_.bytes_copied += size_bytes(submission);
  ++counters_.tickets;
  ++generation->open_tickets;
  deadlines_.emplace(ticket->urgency(), ticket);
  if (deadlines_.begin()->second == ticket) wake_dispatcher_locked();
  queue_.insert(ticket);
  work_cv_.notify_all();
  return {};
}

bool Scheduler::Core::cancel(std::uint64_t id) {
  const std::lock_guard lock(mu_);
  const auto found = tickets_.find(id);
  if (found == tickets_.end() || found->second->is_admitting()) return false;
  const std::shared_ptr<Ticket> ticket = found->second;
  answer_locked(ticket, Code::kCancelled, "the ticket was cancelled");
  return true;
}

}  // namespace floodgate
