// A ticket while it is open: what was asked, which rows it expands to, and how far each has come.
//
// Thread rule: guarded by the scheduler's lock, except that a worker reads `encoded` and `info` of a ticket
// it has claimed a row of (neither changes while `decoding` is above zero).
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "floodgate/arena.h"
#include "floodgate/batch.h"

namespace floodgate {

struct Ensemble;
struct Generation;

enum class CellState : std::uint8_t { kUnwanted, kWaiting, kDecoding, kReady, kBatched, kAnswered };

// One row for one ensemble.
struct Cell {
  CellState state = CellState::kUnwanted;
  std::uint32_t slot = 0;  // in the ensemble's filling buffer, while kDecoding or kReady
  Nanos ready_ns = 0;
  RowScores scores;  // once kAnswered
};

struct TicketRow {
  std::int64_t time_ms = 0;
  TextSpan span;
  std::vector<Cell> cells;  // one per Ticket::ensembles
};

struct Ticket {
  // Constant once queued.
  std::uint64_t id = 0;      // the caller's
  std::uint64_t serial = 0;  // ours, never used twice
  Modality modality = Modality::kImage;
  Lane lane = Lane::kStandard;
  Nanos deadline_ns = kNever;
  Nanos submitted_ns = 0;
  Generation* generation = nullptr;
  std::vector<Ensemble*> ensembles;
  MediaInfo info;
  std::uint64_t copied_bytes = 0;

  ArenaLease encoded;
  std::vector<TicketRow> rows;
  std::size_t next_row = 0;    // the first one no worker has taken
  std::uint32_t decoding = 0;  // workers reading `encoded`
  std::size_t open_cells = 0;  // neither unwanted nor answered
  bool queued = false;
  bool done = false;
  bool scored = false;          // some head said something
  Code batch_code = Code::kOk;  // why the last failed batch failed
  std::string batch_message;
  Nanos first_decode_ns = 0;
  Nanos decode_ns = 0;
  Nanos batch_ns = 0;
  Nanos infer_ns = 0;

  // Rows that only ensembles without memory wanted have nothing to be decoded for.
  void skip_answered_rows() {
    const auto waiting = [](const Cell& cell) { return cell.state == CellState::kWaiting; };
    while (next_row < rows.size() && std::ranges::none_of(rows[next_row].cells, waiting)) ++next_row;
  }

  using Urgency = std::pair<Nanos, std::uint64_t>;
  [[nodiscard]] Urgency urgency() const { return {deadline_ns, serial}; }
};

}  // namespace floodgate
