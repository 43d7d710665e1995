// A ticket while it is open: what was asked, which rows it expands to, and how far each has come.
//
// Thread rule: guarded by the scheduler's lock, except that a worker reads `encoded` and `info` of a ticket
// it has claimed a row of (neither changes while `decoding` is above zero), and that one worker writes the
// digest.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "floodgate/arena.h"
#include "floodgate/batch.h"
#include "floodgate/scheduler.h"

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
  std::uint64_t serial = 0;  // ours, never used twice; 0: not queued yet
  Modality modality = Modality::kImage;
  Lane lane = Lane::kStandard;
  Nanos deadline_ns = kNever;
  Nanos submitted_ns = 0;
  Generation* generation = nullptr;
  std::vector<Ensemble*> ensembles;
  MediaInfo info;
  std::uint64_t copied_bytes = 0;
  std::uint64_t row_decode_ns = 0;  // expected of each row, as the backlog has it
  SamplingPlan plan;                // of a sequence

  ArenaBlock encoded;                    // among all arenas; no bytes: released
  std::shared_ptr<ArenaLease> lease;     // of the scheduler's own arena
  std::shared_ptr<Submitter> submitter;  // who is answered instead of poll_done()
  bool foreign = false;                  // `encoded` is the submitter's, who hears of its release
  std::vector<TicketRow> rows;
  std::size_t next_row = 0;    // the first one no worker has taken
  std::uint32_t decoding = 0;  // workers reading `encoded`
  std::size_t open_cells = 0;  // neither unwanted nor answered
  // What the backlogs hold for it: what no worker has taken yet.
  std::uint64_t decode_owed_ns = 0;
  std::vector<std::uint32_t> rows_owed;  // by index in `ensembles`
  bool queued = false;
  bool done = false;
  bool scored = false;          // some head said something
  bool is_trial = false;        // admitted whatever was predicted, to learn how fast its ensembles are now
  Code batch_code = Code::kOk;  // why the last failed batch failed
  std::string batch_message;
  // A sequence: how far it has come, what is known of it, and which worker keeps it open (-1: none).
  FrameCursor cursor;
  SequenceFacts sequence;
  std::uint32_t frames_similar = 0;
  std::int32_t worker = -1;
  Nanos decode_cpu_ns = 0;
  Nanos first_decode_ns = 0;
  Nanos decode_ns = 0;
  Nanos batch_ns = 0;
  Nanos infer_ns = 0;

  // Of `encoded`: made by the worker that claims the first row, before it decodes.
  bool digest_claimed = false;
  std::atomic<bool> digested = false;  // `sha256` is there, and changes no more
  Sha256 sha256{};

  [[nodiscard]] std::optional<Sha256> digest() const {
    return digested.load(std::memory_order_acquire) ? std::optional(sha256) : std::nullopt;
  }

  // Its rows are frames: decoded one after another, by one worker at a time, and how many there are shows
  // only then.
  [[nodiscard]] bool is_sequence() const {
    return modality == Modality::kImage &&
           (is_video(info.format) || (info.is_sequence() && plan.max_frames > 1));
  }

  // Its bytes are being copied: there is no serial yet, and nobody else may have it.
  [[nodiscard]] bool is_admitting() const { return serial == 0; }

  // Rows that only ensembles without memory wanted have nothing to be decoded for.
  void skip_answered_rows() {
    const auto waiting = [](const Cell& cell) { return cell.state == CellState::kWaiting; };
    while (next_row < rows.size() && std::ranges::none_of(rows[next_row].cells, waiting)) ++next_row;
  }

  using Urgency = std::pair<Nanos, std::uint64_t>;
  [[nodiscard]] Urgency urgency() const { return {deadline_ns, serial}; }
};

}  // namespace floodgate
