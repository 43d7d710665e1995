#include <algorithm>
#include <array>
#include <set>
#include <string>

#include "core.h"

namespace floodgate {
namespace {

using ByLane = std::array<std::uint64_t, kLanes>;

// The first entry that is wrong, or nothing.
class Books {
 public:
  template <typename T>
  void equal(const std::string& what, T held, T counted) {
    if (held != counted) note(what, std::to_string(held) + " held, " + std::to_string(counted) + " counted");
  }
  void hold(const std::string& what, bool true_of_them) {
    if (!true_of_them) note(what, "not so");
  }
  [[nodiscard]] Status status() const {
    return wrong_.empty() ? Status() : Status(Code::kInternal, "the books do not balance: " + wrong_);
  }

 private:
  void note(const std::string& what, const std::string& how) {
    if (wrong_.empty()) wrong_.append(what).append(": ").append(how);
  }

  std::string wrong_;
};

std::uint64_t in_arena(std::uint64_t bytes) {
  return (bytes + kArenaAlignment - 1) / kArenaAlignment * kArenaAlignment;
}

std::size_t index_of(const Ticket& ticket, const Ensemble& ensemble) {
  return static_cast<std::size_t>(std::ranges::find(ticket.ensembles, &ensemble) - ticket.ensembles.begin());
}

std::uint64_t cells(const Ticket& ticket, std::size_t ensemble, CellState state) {
  return static_cast<std::uint64_t>(std::ranges::count_if(
      ticket.rows, [&](const TicketRow& row) { return row.cells[ensemble].state == state; }));
}

// The filling buffer: what its slots hold, and what their tickets say about it.
void audit_slots(const Ensemble& ensemble, const std::string& name, Books& books) {
  std::array<std::uint32_t, 4> states = {};
  for (std::uint32_t i = 0; i < ensemble.slots.size(); ++i) {
    const Slot& slot = ensemble.slots[i];
    ++states[static_cast<std::size_t>(slot.state)];
    if (slot.state == SlotState::kHole || slot.state == SlotState::kMoving) continue;
    if (slot.ticket->done) {
      books.hold(name + ": only a decode under way outlives its ticket", slot.state == SlotState::kDecoding);
      continue;
    }
    const Cell& cell = slot.ticket->rows[slot.row].cells[slot.index];
    const auto expected = slot.state == SlotState::kReady ? CellState::kReady : CellState::kDecoding;
    books.hold(name + ": a slot's row knows it", cell.state == expected && cell.slot == i);
  }
  const auto count = [&](SlotState state) { return states[static_cast<std::size_t>(state)]; };
  books.equal(name + ": decoding slots", ensemble.decoding, count(SlotState::kDecoding));
  books.equal(name + ": ready slots", ensemble.ready, count(SlotState::kReady));
  books.equal(name + ": moving slots", ensemble.moving, count(SlotState::kMoving));
  books.equal(name + ": filling buffers", ensemble.pool->count(BufferState::kFilling),
              ensemble.filling ? 1U : 0U);
  if (ensemble.filling) {
    books.hold(name + ": a filling buffer has rows",
               ensemble.decoding + ensemble.ready + ensemble.moving > 0);
  }
}

BufferState state_of(const BatchRecord& record, BufferState buffer) {
  if (record.state == BatchState::kQuarantined) return BufferState::kQuarantined;
  if (record.state == BatchState::kInFlight) return BufferState::kInFlight;
  return buffer == BufferState::kSealing ? BufferState::kSealing : BufferState::kSealed;
}

}  // namespace

// What is kept twice is counted again. At any time: what another thread is in the middle of is allowed for.
Status Scheduler::Core::audit() const {
  Books books;
  const std::lock_guard lock(mu_);
  ByLane queued = {};
  ByLane decode_owed = {};
  std::uint64_t admitting_rows = 0;
  std::uint64_t admitting_bytes = 0;
  std::size_t open = 0;
  std::set<const Ticket*> holders;  // of encoded bytes
  for (const auto& [id, ticket] : tickets_) {
    const std::string name = "ticket " + std::to_string(id);
    const std::size_t lane = lane_index(ticket->lane);
    decode_owed[lane] += ticket->decode_owed_ns;
    books.hold(name + " is open", !ticket->done);
    if (ticket->is_admitting()) {
      admitting_rows += ticket->rows.size();
      if (!ticket->foreign) admitting_bytes += in_arena(ticket->copied_bytes);
      continue;
    }
    ++open;
    holders.insert(ticket.get());
    if (ticket->queued) queued[lane] += ticket->rows.size() - ticket->next_row;
    books.hold(name + " has its deadline kept", deadlines_.contains(ticket->urgency()));
    std::uint64_t unanswered = 0;
    for (std::size_t i = 0; i < ticket->ensembles.size(); ++i) {
      const std::uint64_t waiting = cells(*ticket, i, CellState::kWaiting);
      books.equal(name + ": rows owed", std::uint64_t{ticket->rows_owed[i]}, waiting);
      unanswered += waiting + cells(*ticket, i, CellState::kDecoding) + cells(*ticket, i, CellState::kReady) +
                    cells(*ticket, i, CellState::kBatched);
    }
    books.equal(name + ": open cells", std::uint64_t{ticket->open_cells}, unanswered);
  }
  books.equal("deadlines", deadlines_.size(), open);
  books.equal("rows of tickets being copied", admitting_rows_, admitting_rows);
  for (const Lane lane : kLaneOrder) {
    const std::size_t i = lane_index(lane);
    books.equal("queued rows of lane " + std::to_string(i), queue_.rows(lane), queued[i]);
    books.equal("decode time of lane " + std::to_string(i), decode_backlog_.total(lane), decode_owed[i]);
  }

  std::size_t unsent = 0;
  std::size_t unanswered = 0;
  for (const auto& [id, record] : batches_) {
    const BufferState state = record->ensemble->pool->state(record->buffer);
    books.hold("batch " + std::to_string(id) + " has its buffer", state == state_of(*record, state));
    unsent += state == BufferState::kSealed ? 1 : 0;
    unanswered += record->state == BatchState::kQuarantined ? 0 : 1;
  }
  books.equal("batches to take", to_take_.size(), unsent);

  std::size_t open_batches = 0;
  for (const auto& generation : generations_) {
    std::uint32_t tickets = 0;
    for (const auto& [id, ticket] : tickets_) {
      tickets += !ticket->is_admitting() && ticket->generation == generation.get() ? 1 : 0;
    }
    const std::string number = "generation " + std::to_string(generation->number);
    books.equal(number + ": open tickets", generation->open_tickets, tickets);
    std::uint32_t held = 0;
    std::set<const Ticket*> decoding;
    for (const auto& each : generation->ensembles) {
      const Ensemble& ensemble = *each;
      const std::string name = number + ", " + ensemble.config->name;
      audit_slots(ensemble, name, books);
      for (const Slot& slot : ensemble.slots) {
        if (slot.state == SlotState::kDecoding) decoding.insert(slot.ticket.get());
      }
      ByLane rows = {};
      for (const auto& [id, ticket] : tickets_) {
        const std::size_t i = index_of(*ticket, ensemble);
        if (i < ticket->ensembles.size()) rows[lane_index(ticket->lane)] += ticket->rows_owed[i];
      }
      for (const Lane lane : kLaneOrder) {
        books.equal(name + ": waiting rows", ensemble.backlog.total(lane), rows[lane_index(lane)]);
      }
      std::uint32_t buffers = 0;
      for (std::size_t state = 0; state < kBufferStates; ++state) {
        buffers += ensemble.pool->count(static_cast<BufferState>(state));
      }
      books.equal(name + ": buffers", ensemble.pool->size(), buffers);
      held +=
          buffers - ensemble.pool->count(BufferState::kFree) - ensemble.pool->count(BufferState::kFilling);
      open_batches += ensemble.open.size();
    }
    // Of a batch that is just being answered only the buffer is left.
    books.equal(number + ": open batches", generation->open_batches, held);
    std::uint32_t decodes = 0;
    for (const Ticket* ticket : decoding) decodes += ticket->decoding;
    books.hold(number + ": every decode under way holds it", generation->pins >= decodes);
    holders.insert(decoding.begin(), decoding.end());
  }
  books.equal("open batches", open_batches, unanswered);

  std::uint64_t bytes = 0;
  std::uint64_t foreign_bytes = 0;
  std::set<const ArenaLease*> leases;
  for (const Ticket* ticket : holders) {
    if (ticket->lease != nullptr) leases.insert(ticket->lease.get());
    if (ticket->foreign) foreign_bytes += ticket->encoded.size;
  }
  for (const Done& done : done_) {
    if (done.undigested != nullptr) leases.insert(done.undigested.get());
  }
  for (const ArenaLease* lease : leases) bytes += in_arena(lease->block().size);
  books.equal("bytes in foreign arenas", foreign_bytes_, foreign_bytes);
  const std::uint64_t used = arena_->used_bytes();
  books.hold("arena: " + std::to_string(used) + " bytes in use, " + std::to_string(bytes) + " by tickets, " +
                 std::to_string(admitting_bytes) + " being copied",
             used >= bytes && used <= bytes + admitting_bytes);
  return books.status();
}

}  // namespace floodgate
