#include <algorithm>
#include <utility>

#include "core.h"

namespace floodgate {
namespace {

// Measured over estimated decode time moves this far towards each new observation.
constexpr double kRatioStep = 0.05;
constexpr double kLeastRatio = 0.1;
constexpr double kMostRatio = 20.0;

}  // namespace

bool has_room(const LaneQueue::Group& group) {
  return std::ranges::all_of(group.first->ensembles, [&](const auto& ensemble) {
    return (group.second >> ensemble->index & 1U) == 0 || ensemble->has_room();
  });
}

void Scheduler::Core::work(std::uint32_t worker, bool live_only) {
  Lock lock(mu_);
  while (!stopping_) {
    Claim claim;
    const Nanos started = monotonic_now();
    if (!claim_locked(live_only, started, claim)) {
      worker_free_ns_[worker] = 0;
      work_cv_.wait(lock);
      continue;
    }
    worker_free_ns_[worker] = claim.places.front().ensemble->slots[claim.places.front().slot].when_ns;
    lock.unlock();
    const DecodeResult result =
        run_decode_job(claim.job, arena_->all_bytes(), claim.regions, options_.decode);
    lock.lock();
    finish_claim_locked(claim, result, monotonic_now());
    // The last reference to a ticket that is over may be this one; its memory goes without the lock.
    lock.unlock();
    claim = {};
    lock.lock();
  }
}

bool Scheduler::Core::claim_locked(bool live_only, Nanos now, Claim& claim) {
  claim.ticket = queue_.take(has_room, live_only);
  if (claim.ticket == nullptr) return false;
  Ticket& ticket = *claim.ticket;
  claim.row = static_cast<std::uint32_t>(ticket.next_row);
  TicketRow& row = ticket.rows[claim.row];

  claim.job.modality = ticket.modality;
  claim.job.input = ticket.encoded.block();
  if (ticket.modality == Modality::kText) {
    claim.job.input.offset += row.span.start;
    claim.job.input.size = row.span.end - row.span.start;
  }
  claim.job.info = ticket.info;
  claim.job.limits = options_.media_limits;

  const auto cost = static_cast<Nanos>(static_cast<double>(ticket.info.decode_cost_ns) * decode_ratio_);
  for (std::uint32_t i = 0; i < row.cells.size(); ++i) {
    Cell& cell = row.cells[i];
    if (cell.state != CellState::kWaiting) continue;
    Ensemble& ensemble = *ticket.ensembles[i];
    if (!ensemble.filling) ensemble.filling = ensemble.pool->begin_filling();
    const auto hole = std::ranges::find(ensemble.slots, SlotState::kHole, &Slot::state);
    *hole = {SlotState::kDecoding, claim.ticket, claim.row, i, now + cost};
    ++ensemble.decoding;
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
  if (ticket.next_row < ticket.rows.size()) {
    queue_.insert(claim.ticket);
    work_cv_.notify_all();
  }
  return true;
}

void Scheduler::Core::add_target_locked(Claim& claim, const Ensemble& ensemble, std::uint32_t slot) const {
  const std::uint32_t buffer = *ensemble.filling;
  const auto region = ensemble.pool->region(buffer);
  const auto index = static_cast<std::uint32_t>(claim.regions.size());
  claim.regions.push_back(region);
  const auto offset = [&](std::size_t tensor) {
    return static_cast<std::uint64_t>(ensemble.pool->row(buffer, tensor, slot).data() - region.data());
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
  --ticket->decoding;
  --ticket->generation->pins;
  ticket->decode_ns += result.decode_ns;
  counters_.decode_ns += static_cast<std::uint64_t>(result.cpu_ns);
  if (!decoded) {
    ++counters_.decode_failures;
  } else if (ticket->modality == Modality::kText) {
    ++counters_.texts_laid_out;
  } else {
    ++counters_.pictures_decoded;
    if (ticket->info.decode_cost_ns > 0) {
      const double ratio =
          static_cast<double>(result.decode_ns) / static_cast<double>(ticket->info.decode_cost_ns);
      decode_ratio_ += kRatioStep * (std::clamp(ratio, kLeastRatio, kMostRatio) - decode_ratio_);
    }
  }
  for (const Claim::Place& place : claim.places) {
    Ensemble& ensemble = *place.ensemble;
    if (!decoded || ticket->done) {
      clear_slot_locked(ensemble, place.slot);
      continue;
    }
    Slot& slot = ensemble.slots[place.slot];
    slot.state = SlotState::kReady;
    slot.when_ns = now;
    --ensemble.decoding;
    ++ensemble.ready;
    Cell& cell = ticket->rows[claim.row].cells[place.index];
    cell.state = CellState::kReady;
    cell.ready_ns = now;
  }
  if (ticket->decoding == 0 && (ticket->done || ticket->next_row == ticket->rows.size()))
    ticket->encoded.reset();
  if (!decoded && !ticket->done) answer_locked(ticket, result.code, result.message);
  wake_dispatcher_locked();
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
