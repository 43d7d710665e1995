#include <sys/eventfd.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "core.h"

namespace floodgate {
namespace {

enum class Stage { kBeforeDecode, kBeforeBatch, kInFlight };

Stage stage_of(const Ticket& ticket) {
  if (ticket.first_decode_ns == 0) return Stage::kBeforeDecode;
  for (const TicketRow& row : ticket.rows) {
    for (const Cell& cell : row.cells) {
      if (cell.state == CellState::kBatched || (cell.state == CellState::kAnswered && ticket.scored)) {
        return Stage::kInFlight;
      }
    }
  }
  return Stage::kBeforeBatch;
}

void count_withdrawal(const Ticket& ticket, Code code, Counters& counters) {
  const bool cancelled = code == Code::kCancelled;
  if (!cancelled && code != Code::kDeadlineExceeded) return;
  switch (stage_of(ticket)) {
    case Stage::kBeforeDecode:
      ++(cancelled ? counters.cancelled_before_decode : counters.expired_before_decode);
      return;
    case Stage::kBeforeBatch:
      ++(cancelled ? counters.cancelled_before_batch : counters.expired_before_batch);
      return;
    case Stage::kInFlight:
      ++(cancelled ? counters.cancelled_in_flight : counters.expired_in_flight);
      return;
  }
}

}  // namespace

RowScores all_missing(const std::shared_ptr<const EnsembleConfig>& config, const std::string& reason) {
  RowScores scores{config, {}, {}};
  std::size_t elements = 0;
  for (const OutputConfig& output : config->outputs) elements += output.elements;
  scores.values.assign(elements, std::numeric_limits<float>::quiet_NaN());
  for (const std::string& head : config->heads) scores.missing.push_back({head, reason});
  return scores;
}

std::string missing_reason(Code code) {
  switch (code) {
    case Code::kUnavailable:
      return "unavailable";
    case Code::kOverloaded:
      return "overloaded";
    case Code::kDeadlineExceeded:
      return "deadline";
    default:
      return "failed";
  }
}

void Scheduler::Core::score_locked(const BatchRow& row, RowScores scores) {
  Cell& cell = row.cell();
  if (scores.missing.size() < scores.config->heads.size()) row.ticket->scored = true;
  cell.scores = std::move(scores);
  cell.state = CellState::kAnswered;
  close_cell_locked(row.ticket);
}

void Scheduler::Core::miss_locked(const BatchRow& row, const Ensemble& ensemble, const std::string& reason) {
  row.cell().scores = all_missing(ensemble.config, reason);
  row.cell().state = CellState::kAnswered;
  close_cell_locked(row.ticket);
}

void Scheduler::Core::close_cell_locked(const std::shared_ptr<Ticket>& ticket) {
  if (--ticket->open_cells > 0) return;
  finish_locked(ticket);
}

// Every cell is answered.
void Scheduler::Core::finish_locked(const std::shared_ptr<Ticket>& ticket) {
  const bool failed = !ticket->scored && ticket->batch_code != Code::kOk;
  answer_locked(ticket, failed ? ticket->batch_code : Code::kOk, failed ? ticket->batch_message : "");
}

// REQUIRES: the ticket is open. Afterwards it is not: whoever still holds it sees `done`.
void Scheduler::Core::answer_locked(const std::shared_ptr<Ticket>& ticket, Code code, std::string message) {
  count_withdrawal(*ticket, code, counters_);
  ticket->done = true;
  if (ticket->queued) queue_.erase(*ticket);
  settle_all_locked(*ticket);
  if ((code == Code::kOk || code == Code::kDeadlineExceeded) && !ticket->is_sequence()) {
    const bool standing = std::ranges::any_of(ticket->ensembles, [](const Ensemble* ensemble) {
      return ensemble->pool->count(BufferState::kQuarantined) > 0;
    });
    lane_guards_.observe(ticket->lane, code != Code::kOk, standing);
  }
  deadlines_.erase(ticket->urgency());
  tickets_.erase(ticket->id);
  --ticket->generation->open_tickets;

  Done done;
  done.ticket = ticket->id;
  done.code = code;
  done.message = std::move(message);
  done.copied_bytes = ticket->copied_bytes;
  if (ticket->modality == Modality::kImage) done.info = ticket->info;
  done.digest = ticket->digest();
  // Nobody has come to decode it.
  if (!done.digest && code != Code::kCancelled && ticket->encoded.size <= kMostDigestedBytes) {
    done.undigested = ticket->lease;
  }
  done.sequence = ticket->sequence;
  done.frames_dropped = ticket->frames_similar;
  const Nanos now = monotonic_now();
  const Nanos queued_until = ticket->first_decode_ns != 0 ? ticket->first_decode_ns : now;
  done.timings = {(queued_until - ticket->submitted_ns) / kMicrosecond, ticket->decode_ns / kMicrosecond,
                  ticket->batch_ns / kMicrosecond, ticket->infer_ns / kMicrosecond, now};
  const bool with_rows = code != Code::kCancelled && code != Code::kInvalidContent &&
                         code != Code::kUnsupported && code != Code::kTooLarge;
  for (TicketRow& row : ticket->rows) {
    DoneRow answered{row.time_ms, row.span, {}};
    bool sampled = false;
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      Cell& cell = row.cells[i];
      const CellState state = cell.state;
      if (state == CellState::kReady) clear_slot_locked(*ticket->ensembles[i], cell.slot);
      sampled =
          sampled || state == CellState::kBatched || (state == CellState::kAnswered && cell.ready_ns != 0);
      if (!with_rows || state == CellState::kUnwanted) continue;
      answered.scores.push_back(state == CellState::kAnswered
                                    ? std::move(cell.scores)
                                    : all_missing(ticket->ensembles[i]->config, missing_reason(code)));
    }
    if (sampled) {
      ++done.frames_sampled;
    } else if (done.frames_missed++ > 0 && ticket->is_sequence()) {
      continue;  // one missed frame stands for all: their times are not known
    }
    if (with_rows) done.rows.push_back(std::move(answered));
  }
  ++counters_.done;
  if (ticket->generation->retired || draining_) wake_dispatcher_locked();
  if (ticket->submitter != nullptr) {
    ticket->submitter->answered(std::move(done));
  } else {
    done_.push_back(std::move(done));
    signal_locked();
  }
  // After the answer: with its bytes at hand whoever submitted it can still make the digest.
  if (ticket->decoding == 0) release_encoded_locked(*ticket);
}

void Scheduler::Core::release_encoded_locked(Ticket& ticket) {
  if (ticket.encoded.size == 0) return;
  ticket.lease.reset();
  if (ticket.foreign) {
    foreign_bytes_ -= ticket.encoded.size;
    ticket.submitter->released(ticket.id, ticket.done, ticket.digest());
  }
  ticket.encoded = {};
}

std::vector<Done> Scheduler::Core::poll_done() {
  std::vector<Done> polled;
  {
    const std::lock_guard lock(mu_);
    polled = std::exchange(done_, {});
    signal_locked();
  }
  return polled;
}

void Scheduler::Core::signal_locked() {
  const bool pending = !to_take_.empty() || !done_.empty();
  if (pending == signalled_) return;
  signalled_ = pending;
  eventfd_t value = 0;
  if (pending) {
    (void)eventfd_write(event_fd_, 1);
  } else {
    (void)eventfd_read(event_fd_, &value);
  }
}

}  // namespace floodgate
