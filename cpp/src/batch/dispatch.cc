#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include "core.h"

namespace floodgate {
namespace {

std::chrono::steady_clock::time_point at(Nanos time) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(time));
}

// A row that costs nothing to lay out still has to reach a worker. Looking again sooner would only take the
// lock from it: its arrival wakes the dispatcher anyhow.
constexpr Nanos kLeastDecodeNs = 50 * kMicrosecond;

// Slots of the chosen rows in the order they will lie in the batch. In place, a row moves only into a hole.
std::vector<std::uint32_t> fill_holes(std::vector<std::uint32_t> chosen) {
  std::ranges::sort(chosen);
  std::vector<std::uint32_t> order(chosen.size());
  std::size_t last = chosen.size();
  std::size_t next = 0;
  for (std::uint32_t place = 0; place < order.size(); ++place) {
    order[place] = chosen[next] == place ? chosen[next++] : chosen[--last];
  }
  return order;
}

}  // namespace

void Scheduler::Core::wake_dispatcher_locked() {
  if (dirty_) return;
  dirty_ = true;
  dispatch_cv_.notify_one();
}

void Scheduler::Core::dispatch() {
  Lock lock(mu_);
  while (!stopping_) {
    dirty_ = false;
    const Nanos now = monotonic_now();
    expire_locked(now);
    Nanos wake = deadlines_.empty() ? kNever : deadlines_.begin()->first.first;
    // Only this thread destroys generations, so the pointers outlive the steps that let go of the lock.
    for (const Generation* generation : generations_locked()) {
      for (const auto& ensemble : generation->ensembles) wake = std::min(wake, step(*ensemble, now, lock));
    }
    if (auto finished = take_finished_locked(); !finished.empty()) {
      lock.unlock();
      finished.clear();
      lock.lock();
      work_cv_.notify_all();  // idle workers let go of its memory too
    }
    const auto changed = [this] { return dirty_ || stopping_; };
    if (wake == kNever) {
      dispatch_cv_.wait(lock, changed);
    } else {
      dispatch_cv_.wait_until(lock, at(wake), changed);
    }
  }
}

void Scheduler::Core::expire_locked(Nanos now) {
  while (!deadlines_.empty() && deadlines_.begin()->first.first <= now) {
    const std::shared_ptr<Ticket> ticket = deadlines_.begin()->second;
    answer_locked(ticket, Code::kDeadlineExceeded, "the deadline has passed");
  }
}

Nanos Scheduler::Core::next_ready_locked(const Ensemble& ensemble, Nanos now) const {
  Nanos next = kNever;
  for (const Slot& slot : ensemble.slots) {
    if (slot.state == SlotState::kDecoding) next = std::min(next, slot.when_ns);
  }
  if (!ensemble.has_room()) return next;
  const Ticket* queued = queue_.first_for(ensemble, has_room);
  if (queued == nullptr) return next;
  // A worker that is overdue promises nothing, and the first one may not be meant for this lane.
  Nanos worker = kNever;
  for (std::size_t i = reserves_first_worker() && queued->lane != Lane::kLive ? 1 : 0;
       i < worker_states_.size(); ++i) {
    const Nanos free = worker_states_[i].free_ns == 0 ? now : worker_states_[i].free_ns;
    if (free >= now) worker = std::min(worker, free);
  }
  if (worker == kNever) return next;
  const auto cost = static_cast<Nanos>(decode_ns_locked(*queued));
  return std::min(next, worker + std::max(cost, kLeastDecodeNs));
}

Nanos Scheduler::Core::step(Ensemble& ensemble, Nanos now, Lock& lock) {
  if (ensemble.ready == 0) return kNever;
  if (ensemble.closing) {
    if (ensemble.decoding > 0) return kNever;
    if (ensemble.open.size() < ensemble.config->credit) {
      close_batch(ensemble, {Action::kCut, kNever, ensemble.ready}, now, lock);
    }
    return kNever;
  }
  std::vector<Nanos> deadlines;
  QueueSummary summary;
  for (const Slot& slot : ensemble.slots) {
    if (slot.state != SlotState::kReady) continue;
    deadlines.push_back(slot.ticket->deadline_ns);
    summary.oldest_ready_ns = std::min(summary.oldest_ready_ns, slot.when_ns);
  }
  std::ranges::sort(deadlines);
  summary.ready_deadlines = deadlines;
  summary.capacity = ensemble.pool->max_rows();
  summary.in_flight = static_cast<std::uint32_t>(ensemble.open.size());
  summary.credit = ensemble.config->credit;
  summary.next_ready_ns = next_ready_locked(ensemble, now);
  summary.device_free_ns = device_free_locked(ensemble);
  if (ensemble.config->shares_cores) {
    summary.coming = ensemble.decoding + static_cast<std::uint32_t>(ensemble.backlog.total());
  }
  const Decision decision = decide(summary, ensemble.fit.model(), now);
  switch (decision.action) {
    case Action::kWait:
      return decision.until_ns;
    case Action::kDrop:
      drop_rows_locked(ensemble, decision.rows);
      return now;
    case Action::kCut:
      close_batch(ensemble, decision, now, lock);
      return kNever;
  }
  return kNever;
}

// The ready rows with the earliest deadlines can be answered in time no more.
void Scheduler::Core::drop_rows_locked(Ensemble& ensemble, std::uint32_t rows) {
  std::vector<BatchRow> ready;
  for (const Slot& slot : ensemble.slots) {
    if (slot.state == SlotState::kReady) ready.push_back({slot.ticket, slot.row, slot.index});
  }
  std::ranges::sort(ready, {}, [](const BatchRow& row) { return row.ticket->urgency(); });
  ready.resize(std::min<std::size_t>(ready.size(), rows));
  for (const BatchRow& row : ready) {
    if (row.ticket->done) continue;  // with another of its rows
    ++counters_.dropped_early;
    Cell& cell = row.cell();
    clear_slot_locked(ensemble, cell.slot);
    cell.ready_ns = 0;  // it was seen by nobody
    if (row.ticket->batch_code == Code::kOk) {
      row.ticket->batch_code = Code::kDeadlineExceeded;
      row.ticket->batch_message = "it could not be answered in time any more";
    }
    miss_locked(row, ensemble, missing_reason(Code::kDeadlineExceeded));
  }
}

void Scheduler::Core::close_batch(Ensemble& ensemble, const Decision& decision, Nanos now, Lock& lock) {
  std::vector<std::uint32_t> ready;
  for (std::uint32_t i = 0; i < ensemble.slots.size(); ++i) {
    if (ensemble.slots[i].state == SlotState::kReady) ready.push_back(i);
  }
  std::ranges::sort(ready, {}, [&](std::uint32_t i) { return ensemble.slots[i].ticket->urgency(); });
  std::vector<std::uint32_t> chosen(ready.begin(), ready.begin() + decision.rows);

  const std::uint32_t from = *ensemble.filling;
  std::uint32_t to = from;
  if (chosen.size() < ready.size() || ensemble.decoding > 0) {
    // Neighbours stay behind: a batch never waits for someone else's decode, so its rows move to a spare
    // buffer.
    if (const auto spare = ensemble.pool->begin_filling()) {
      to = *spare;
    } else if (ensemble.decoding > 0) {
      ensemble.closing = true;
      return;
    } else {
      chosen = ready;
    }
  }
  const bool in_place = to == from;
  const bool text = ensemble.config->modality == Modality::kText;
  if (text) {
    std::ranges::sort(chosen);
  } else if (in_place) {
    chosen = fill_holes(std::move(chosen));
  }

  auto record = std::make_unique<BatchRecord>();
  record->id = next_batch_++;
  record->ensemble = &ensemble;
  record->buffer = to;
  record->started_ns = now;
  std::int64_t longest = 0;
  for (const std::uint32_t i : chosen) {
    Slot& slot = ensemble.slots[i];
    const TicketRow& row = slot.ticket->rows[slot.row];
    longest = std::max<std::int64_t>(longest, row.span.end - row.span.start);
    record->rows.push_back({slot.ticket, slot.row, slot.index});
    record->rows.back().cell().state = CellState::kBatched;
    slot.state = SlotState::kMoving;
    --ensemble.ready;
    ++ensemble.moving;
  }
  if (text) {
    record->row_length =
        bucket_for(std::get<TextView>(ensemble.config->tensors.front().view).buckets, longest);
  }
  (void)ensemble.pool->move(to, BufferState::kSealing);
  if (in_place) {
    for (Slot& slot : ensemble.slots) slot = {};
    ensemble.moving = 0;
    ensemble.filling.reset();
    ensemble.closing = false;
  } else {
    counters_.rows_moved += chosen.size();
  }
  ++ensemble.generation->open_batches;
  ensemble.open.push_back(record.get());
  const std::uint64_t id = record->id;
  const std::int64_t row_length = record->row_length;
  batches_.emplace(id, std::move(record));
  work_cv_.notify_all();

  // Both buffers are the dispatcher's: the target is nobody else's, and moving rows are not given out.
  lock.unlock();
  ensemble.pool->gather(from, chosen, to, row_length);
  lock.lock();

  if (!in_place) {
    for (const std::uint32_t i : chosen) clear_slot_locked(ensemble, i);
  }
  (void)ensemble.pool->move(to, BufferState::kSealed);
  ++counters_.batches;
  counters_.rows_batched += chosen.size();
  to_take_.push_back(id);
  dirty_ = true;
  signal_locked();
}

}  // namespace floodgate
