#include <algorithm>
#include <utility>

#include "core.h"

namespace floodgate {
namespace {

// Measured over estimated decode time moves this far towards each new observation.
constexpr double kRatioStep = 0.05;
constexpr double kLeastRatio = 0.1;
constexpr double kMostRatio = 20.0;
// A worker that has been at one job for so long does not hold back the other sequences that it keeps open.
constexpr Nanos kHeldUpNs = 200 * kMillisecond;

}  // namespace

bool has_room(const LaneQueue::Group& group) {
  return std::ranges::all_of(group.first->ensembles, [&](const auto& ensemble) {
    return (group.second >> ensemble->index & 1U) == 0 || ensemble->has_room();
  });
}

void Scheduler::Core::work(std::uint32_t worker, bool live_only) {
  Lock lock(mu_);
  WorkerState& state = worker_states_[worker];
  bool tidy = false;  // told the worker that there is nothing to do, since it last had
  while (!stopping_) {
    Claim claim;
    const Nanos started = monotonic_now();
    if (!claim_locked(worker, live_only, started, claim)) {
      state.busy_since_ns = state.free_ns = 0;
      if (tidy) {
        work_cv_.wait(lock);
      } else {
        lock.unlock();
        workers_[worker]->idle();
        lock.lock();
      }
      tidy = !tidy;
      continue;
    }
    tidy = false;
    state.busy_since_ns = started;
    state.free_ns = claim.places.front().ensemble->slots[claim.places.front().slot].when_ns;
    lock.unlock();
    const Nanos digest_ns = claim.digests ? make_digest(*claim.ticket) : 0;
    DecodeResult result = workers_[worker]->run(claim.job, claim.regions);
    result.decode_ns += digest_ns;
    lock.lock();
    finish_claim_locked(claim, result, monotonic_now());
    // The last reference to a ticket that is over may be this one; its memory goes without the lock.
    lock.unlock();
    claim = {};
    lock.lock();
  }
}

// Before the decode, which then finds the bytes in the cache; not by the worker process, whose word is not
// taken. Returns how long it took.
Nanos Scheduler::Core::make_digest(Ticket& ticket) const {
  const Nanos started = monotonic_now();
  if (const auto digest = sha256(readable().subspan(ticket.encoded.offset, ticket.encoded.size))) {
    ticket.sha256 = *digest;
    ticket.digested.store(true, std::memory_order_release);
  }
  return monotonic_now() - started;
}

// A sequence belongs to the worker that keeps it open, unless that one is held up.
bool Scheduler::Core::may_take_locked(const Ticket& ticket, std::uint32_t worker, Nanos now) const {
  if (ticket.worker < 0 || ticket.worker == static_cast<std::int32_t>(worker)) return true;
  const Nanos since = worker_states_[static_cast<std::size_t>(ticket.worker)].busy_since_ns;
  return since != 0 && now - since > kHeldUpNs;
}

// Keeps the same books as the worker's DecodeRunner: the last used sequence pushes out the first.
void Scheduler::Core::bind_locked(const std::shared_ptr<Ticket>& ticket, std::uint32_t worker) {
  auto& kept = worker_states_[worker].sequences;
  std::erase_if(kept, [&](const auto& other) { return other.expired() || other.lock() == ticket; });
  kept.push_front(ticket);
  ticket->worker = static_cast<std::int32_t>(worker);
  if (kept.size() <= kOpenSequences) return;
  const auto dropped = kept.back().lock();
  if (dropped != nullptr && dropped->worker == static_cast<std::int32_t>(worker)) dropped->worker = -1;
  kept.pop_back();
}

bool Scheduler::Core::claim_locked(std::uint32_t worker, bool live_only, Nanos now, Claim& claim) {
  const auto may_take = [&](const Ticket& ticket) { return may_take_locked(ticket, worker, now); };
  const auto cost = [&](const Ticket& ticket) { return row_cost_locked(ticket); };
  for (;;) {
    claim.ticket = queue_.take(has_room, may_take, cost, live_only);
    if (claim.ticket == nullptr) return false;
    // The last one goes all the same, or predictions that are wrong would never be put right.
    if (queue_.rows() == 0 || !hopeless_locked(*claim.ticket, now)) break;
    ++counters_.dropped_early;
    answer_locked(claim.ticket, Code::kDeadlineExceeded, "it could not be answered in time any more");
  }
  Ticket& ticket = *claim.ticket;
  queue_.charge(ticket, cost(ticket));
  claim.row = static_cast<std::uint32_t>(ticket.next_row);
  TicketRow& row = ticket.rows[claim.row];

  claim.digests = !std::exchange(ticket.digest_claimed, true) && ticket.encoded.size <= kMostDigestedBytes;
  claim.job.kind = DecodeJob::Kind::kPicture;
  claim.job.input = ticket.encoded;
  if (ticket.modality == Modality::kText) {
    claim.job.kind = DecodeJob::Kind::kText;
    claim.job.input.offset += row.span.start;
    claim.job.input.size = row.span.end - row.span.start;
  } else if (ticket.is_sequence()) {
    claim.job.kind = DecodeJob::Kind::kFrame;
    claim.job.sequence = ticket.serial;
    claim.job.plan = ticket.plan;
    claim.job.cursor = ticket.cursor;
    bind_locked(claim.ticket, worker);
  }
  claim.job.info = ticket.info;
  claim.job.limits = options_.media_limits;
  claim.job.options = options_.decode_options;
  claim.job.cpu_used_ns = ticket.decode_cpu_ns;

  const auto expected = static_cast<Nanos>(decode_ns_locked(ticket));
  for (std::uint32_t i = 0; i < row.cells.size(); ++i) {
    Cell& cell = row.cells[i];
    if (cell.state != CellState::kWaiting) continue;
    Ensemble& ensemble = *ticket.ensembles[i];
    if (!ensemble.filling) ensemble.filling = ensemble.pool->begin_filling();
    const auto hole = std::ranges::find(ensemble.slots, SlotState::kHole, &Slot::state);
    *hole = {SlotState::kDecoding, claim.ticket, claim.row, i, now + expected};
    ++ensemble.decoding;
    settle_row_locked(ticket, i);
    cell.state = CellState::kDecoding;
    cell.slot = static_cast<std::uint32_t>(hole - ensemble.slots.begin());
    claim.places.push_back({&ensemble, cell.slot, i});
    add_target_locked(claim, ensemble, cell.slot);
  }

  ++ticket.decoding;
  ++ticket.generation->pins;
  if (ticket.first_decode_ns == 0) ticket.first_decode_ns = now;
  ++ticket.next_row;
  ticket.skip_answered_rows();
  // The next frame waits for this one.
  if (!ticket.is_sequence() && ticket.next_row < ticket.rows.size()) {
    queue_.insert(claim.ticket);
    work_cv_.notify_all();
  }
  return true;
}

void Scheduler::Core::add_target_locked(Claim& claim, const Ensemble& ensemble, std::uint32_t slot) const {
  const std::uint32_t buffer = *ensemble.filling;
  const auto& region = ensemble.pool->region(buffer);
  const auto index = static_cast<std::uint32_t>(claim.regions.size());
  claim.regions.push_back(region);
  const auto offset = [&](std::size_t tensor) {
    return static_cast<std::uint64_t>(ensemble.pool->row(buffer, tensor, slot).data() -
                                      region->bytes().data());
  };
  for (std::size_t tensor = 0; tensor < ensemble.config->tensors.size(); ++tensor) {
    RowTarget& target = claim.job.targets[claim.job.target_count++];
    target.region = index;
    target.offset = offset(tensor);
    target.bytes = static_cast<std::uint32_t>(ensemble.pool->tensors()[tensor].row_bytes());
    if (const auto* view = std::get_if<ImageView>(&ensemble.config->tensors[tensor].view)) {
      target.view = *view;
    } else {
      target.length_offset = offset(tensor + 1);
    }
  }
}

void Scheduler::Core::finish_claim_locked(Claim& claim, const DecodeResult& result, Nanos now) {
  const std::shared_ptr<Ticket>& ticket = claim.ticket;
  const bool decoded = result.code == Code::kOk;
  const bool sequence = claim.job.kind == DecodeJob::Kind::kFrame;
  const bool rendered = decoded && (!sequence || result.step == StepKind::kFrame);
  --ticket->decoding;
  --ticket->generation->pins;
  settle_decode_locked(*ticket, 1);
  decode_usage_.served(ticket->lane, static_cast<double>(result.decode_ns) / options_.decode_workers, now);
  ticket->decode_ns += result.decode_ns;
  ticket->decode_cpu_ns += result.cpu_ns;
  counters_.decode_ns += static_cast<std::uint64_t>(result.cpu_ns);
  if (!decoded) {
    ++counters_.decode_failures;
  } else if (ticket->modality == Modality::kText) {
    ++counters_.texts_laid_out;
  } else if (rendered) {
    ++counters_.pictures_decoded;
    if (ticket->info.decode_cost_ns > 0) {
      const double ratio =
          static_cast<double>(result.decode_ns) / static_cast<double>(ticket->info.decode_cost_ns);
      decode_ratio_ += kRatioStep * (std::clamp(ratio, kLeastRatio, kMostRatio) - decode_ratio_);
    }
  }
  if (rendered && !ticket->done) {
    keep_rows_locked(claim, now);
  } else {
    for (const Claim::Place& place : claim.places) clear_slot_locked(*place.ensemble, place.slot);
  }
  if (sequence && decoded && !ticket->done) {
    ticket->cursor = result.cursor;
    ticket->sequence = result.facts;
    TicketRow& row = ticket->rows[claim.row];
    row.time_ms = result.time_ms;
    if (result.step == StepKind::kSimilar) {
      ++ticket->frames_similar;
      ++counters_.frames_similar;
    }
    if (!rendered) {
      // The row is still to come.
      ticket->decode_owed_ns += ticket->row_decode_ns;
      decode_backlog_.add(ticket->lane, ticket->deadline_ns, ticket->row_decode_ns, false);
      for (const Claim::Place& place : claim.places) {
        row.cells[place.index].state = CellState::kWaiting;
        owe_row_locked(*ticket, place.index);
      }
      ticket->next_row = claim.row;
    }
    // Rows were laid in for the most frames that were asked for; the plan shows how many can still come.
    const bool ended = result.step == StepKind::kEnd || result.cursor.next >= result.facts.planned;
    const std::size_t most = ticket->next_row + (ended ? 0 : result.facts.planned - result.cursor.next);
    if (ended || most < ticket->rows.size()) shorten_sequence_locked(ticket, most);
    if (!ticket->done && ticket->next_row < ticket->rows.size()) {
      queue_.insert(ticket);
      work_cv_.notify_all();
    }
  }
  if (ticket->decoding == 0 && (ticket->done || ticket->next_row == ticket->rows.size())) {
    release_encoded_locked(*ticket);
  }
  if (!decoded && !ticket->done) answer_locked(ticket, result.code, result.message);
  wake_dispatcher_locked();
}

void Scheduler::Core::keep_rows_locked(Claim& claim, Nanos now) {
  for (const Claim::Place& place : claim.places) {
    Ensemble& ensemble = *place.ensemble;
    Slot& slot = ensemble.slots[place.slot];
    slot.state = SlotState::kReady;
    slot.when_ns = now;
    --ensemble.decoding;
    ++ensemble.ready;
    Cell& cell = claim.ticket->rows[claim.row].cells[place.index];
    cell.state = CellState::kReady;
    cell.ready_ns = now;
  }
}

// No more than the first `rows` rows will come. REQUIRES: the ticket is open, not queued, and none of the
// others decodes.
void Scheduler::Core::shorten_sequence_locked(const std::shared_ptr<Ticket>& ticket, std::size_t rows) {
  for (std::size_t i = rows; i < ticket->rows.size(); ++i) {
    for (std::size_t index = 0; index < ticket->ensembles.size(); ++index) {
      if (ticket->rows[i].cells[index].state != CellState::kWaiting) continue;
      settle_row_locked(*ticket, index);
      --ticket->open_cells;
    }
  }
  settle_decode_locked(*ticket, ticket->rows.size() - rows);
  ticket->rows.resize(rows);
  if (rows == 0) {
    answer_locked(ticket, Code::kInvalidContent, "there is no frame in it that can be decoded");
  } else if (ticket->open_cells == 0) {
    finish_locked(ticket);
  }
}

void Scheduler::Core::clear_slot_locked(Ensemble& ensemble, std::uint32_t index) {
  Slot& slot = ensemble.slots[index];
  switch (slot.state) {
    case SlotState::kHole:
      return;
    case SlotState::kDecoding:
      --ensemble.decoding;
      break;
    case SlotState::kReady:
      --ensemble.ready;
      break;
    case SlotState::kMoving:
      --ensemble.moving;
      break;
  }
  slot = {};
  if (ensemble.decoding + ensemble.ready + ensemble.moving == 0 && ensemble.filling) {
    (void)ensemble.pool->move(*ensemble.filling, BufferState::kFree);
    ensemble.filling.reset();
    ensemble.closing = false;
  }
  work_cv_.notify_all();
}

}  // namespace floodgate
