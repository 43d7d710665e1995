// An ensemble being served: its buffers, the one that is filling, its batches, its service time.
//
// Thread rule: guarded by the scheduler's lock, but for buffer bytes (see buffer_pool.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "floodgate/admission.h"
#include "floodgate/batch.h"
#include "floodgate/batch_rule.h"
#include "floodgate/buffer_pool.h"
#include "ticket.h"

namespace floodgate {

enum class SlotState : std::uint8_t { kHole, kDecoding, kReady, kMoving };

// One row of the filling buffer.
struct Slot {
  SlotState state = SlotState::kHole;
  std::shared_ptr<Ticket> ticket;
  std::uint32_t row = 0;    // of the ticket
  std::uint32_t index = 0;  // of this ensemble in Ticket::ensembles
  Nanos when_ns = 0;        // kDecoding: when it should be ready; kReady: when it became so
};

// A row on its way through the server.
struct BatchRow {
  std::shared_ptr<Ticket> ticket;
  std::uint32_t row = 0;
  std::uint32_t index = 0;

  [[nodiscard]] Cell& cell() const { return ticket->rows[row].cells[index]; }
};

enum class BatchState : std::uint8_t { kClosed, kInFlight, kQuarantined };

struct BatchRecord {
  std::uint64_t id = 0;
  Ensemble* ensemble = nullptr;
  std::uint32_t buffer = 0;
  BatchState state = BatchState::kClosed;
  std::vector<BatchRow> rows;   // in the order they lie in the buffer
  std::int64_t row_length = 0;  // text: bytes of a row
  Nanos started_ns = 0;         // closed, then sent
};

struct Ensemble {
  Generation* generation = nullptr;
  std::uint32_t index = 0;  // in the generation
  std::shared_ptr<const EnsembleConfig> config;
  std::unique_ptr<BufferPool> pool;
  ServiceFit fit;
  LaneUsage* device_usage = nullptr;  // its device's, shared with others on it; outlives every ensemble
  Backlog backlog;                    // rows that no worker has taken
  double typical_rows = 1;            // of a batch, lately

  std::optional<std::uint32_t> filling;
  std::vector<Slot> slots;     // of the filling buffer; all holes when there is none
  std::uint32_t decoding = 0;  // slots in that state
  std::uint32_t ready = 0;
  std::uint32_t moving = 0;
  bool closing =
      false;  // no spare buffer to move ready rows to: no new rows until the decodes under way are in

  std::vector<const BatchRecord*> open;  // closed or in flight, oldest first
  Nanos last_answer_ns = 0;

  [[nodiscard]] bool has_room() const {
    if (closing) return false;
    if (!filling) return pool->count(BufferState::kFree) > 0;
    return decoding + ready + moving < slots.size();
  }
};

struct Generation {
  std::uint64_t number = 0;
  std::vector<std::unique_ptr<Ensemble>> ensembles;
  bool retired = false;
  // What still needs its memory.
  std::uint32_t open_tickets = 0;
  std::uint32_t open_batches = 0;  // quarantined ones included
  std::uint32_t pins = 0;          // decodes under way, region changes

  [[nodiscard]] bool finished() const {
    return retired && open_tickets == 0 && open_batches == 0 && pins == 0;
  }
};

}  // namespace floodgate
