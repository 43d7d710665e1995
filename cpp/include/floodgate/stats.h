// What the scheduler counted, and what it holds right now. Counters only ever grow. Thread rule: values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "floodgate/batch_rule.h"
#include "floodgate/buffer_pool.h"
#include "floodgate/decode_worker.h"
#include "floodgate/device.h"
#include "floodgate/status.h"

namespace floodgate {

struct Counters {
  std::uint64_t tickets = 0;           // accepted
  std::uint64_t done = 0;              // answered; every accepted ticket is, once
  std::uint64_t bytes_received = 0;    // of every submit, refused ones included
  std::uint64_t bytes_copied = 0;      // into the arena
  std::uint64_t pictures_decoded = 0;  // frames included
  std::uint64_t frames_similar = 0;    // decoded and dropped as near copies
  std::uint64_t texts_laid_out = 0;    // text rows written
  std::uint64_t decode_failures = 0;
  std::uint64_t decode_ns = 0;  // CPU time of decoding and rendering, text included; not wall time
  std::uint64_t batches = 0;
  std::uint64_t rows_batched = 0;
  std::uint64_t rows_dead_in_flight = 0;  // rows whose ticket was over before their batch was answered
  std::uint64_t rows_dead_sent = 0;       // of those, rows whose ticket was over before their batch was taken
  std::uint64_t rows_moved = 0;           // copied to let a batch go while a neighbour was decoding
  std::uint64_t batches_dead_unsent = 0;  // closed, but every row was dead before the batch was taken
  std::uint64_t batches_quarantined = 0;
  std::uint64_t batches_lost = 0;  // sent, and their server refused them, was away or died
  std::uint64_t cancelled_before_decode = 0;
  std::uint64_t cancelled_before_batch = 0;  // decoding or ready, not yet in a batch
  std::uint64_t cancelled_in_flight = 0;
  std::uint64_t dropped_early = 0;  // rows that could not be answered in time any more, given up before that
  std::uint64_t refused_late = 0;   // tickets that could not have been answered in time
  std::uint64_t expired_before_decode = 0;
  std::uint64_t expired_before_batch = 0;
  std::uint64_t expired_in_flight = 0;
  std::array<std::uint64_t, static_cast<std::size_t>(kLastCode) + 1> refused = {};  // by Code
};

struct EnsembleStats {
  std::uint64_t generation = 0;
  std::string ensemble;
  bool retired = false;                                   // an older generation, finishing
  std::array<std::uint32_t, kBufferStates> buffers = {};  // by BufferState
  std::uint32_t ready_rows = 0;
  std::uint32_t decoding_rows = 0;
  std::uint64_t waiting_rows = 0;  // that no worker has taken
  ServiceModel model;
};

struct Stats {
  Counters counters;
  std::array<std::uint64_t, 3> queued_rows = {};  // not yet decoding, by lane_index()
  std::uint64_t open_tickets = 0;
  std::uint64_t waiting_decode_ns = 0;     // of one worker's time, expected of what no worker has finished
  std::array<double, 3> lane_guards = {};  // LaneGuards::factor(), by lane_index()
  bool sandboxed = false;                  // decode workers are processes
  WorkerLosses worker_losses;              // of those processes
  std::optional<DeviceStats> device;       // nothing: none is used
  std::uint64_t arena_used_bytes = 0;
  std::uint64_t arena_free_bytes = 0;
  bool draining = false;
  bool drained = false;  // draining, no ticket open, no batch closed or in flight
  std::vector<EnsembleStats> ensembles;
};

}  // namespace floodgate
