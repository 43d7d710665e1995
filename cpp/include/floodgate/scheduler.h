// The scheduler: encoded bytes in, batches out, scores in, answers out.
//
// Tickets wait as encoded bytes in the arena. Decode workers take the most urgent one that has room in the
// filling buffer of every ensemble it wants, decode it once into those rows, and a dispatcher closes batches
// by the batch rule. A ticket is answered when all its rows are, or at its own deadline with what it has, or
// when it is cancelled: exactly one Done each. The scheduler owns its threads, the arena and the buffers, and
// needs whoever holds it to take batches, answer them, and poll for what is done when `fd()` is readable.
// Thread rule: every member may be called from any thread at once; none blocks on decoding or on inference.
// Refused: see submit() and configure(); nothing throws.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "floodgate/batch.h"
#include "floodgate/clock.h"
#include "floodgate/job.h"
#include "floodgate/media.h"
#include "floodgate/stats.h"
#include "floodgate/status.h"

namespace floodgate {

using ProbeFn = std::function<Result<MediaInfo>(std::span<const std::uint8_t>, const MediaLimits&)>;

struct SchedulerOptions {
  // Shares of the decode workers while every lane has work, by lane_index() (STANDARD, LIVE, BULK); each
  // >= 1.
  std::array<std::uint32_t, kLanes> lane_weights = {8, 32, 1};
  std::uint32_t decode_workers = 1;  // 1..256; with three or more, the first one serves LIVE only
  std::uint64_t arena_bytes = 256 << 20;
  std::uint32_t max_queue_rows = 4096;  // rows waiting for a decode
  double live_reserve = 0.1;            // [0, 1): share of queue and arena that only LIVE may use
  std::uint32_t quarantine_cap = 2;  // >= 1: quarantined buffers at which an ensemble takes no more tickets
  MediaLimits media_limits;
  std::uint64_t max_text_bytes = 1 << 20;
  ServiceModel initial_model;
  ProbeFn probe;    // empty: floodgate::probe
  DecodeFn decode;  // empty: decode_and_render
};

struct Submission {
  std::uint64_t ticket = 0;  // the caller's; must not be that of an open ticket
  std::vector<std::string> ensembles;
  Modality modality = Modality::kImage;
  std::span<const std::uint8_t> data;  // borrowed for the call, copied once
  SamplingPlan plan;
  Lane lane = Lane::kStandard;
  Nanos deadline_ns = kNever;  // CLOCK_MONOTONIC
};

class Scheduler {
 public:
  // Errors: kInvalidArgument naming the option, kUnavailable (no memory, no descriptor).
  static Result<std::unique_ptr<Scheduler>> create(SchedulerOptions options);

  // Stops the threads, finishing decodes under way. Open tickets get no answer.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Serves `ensembles` from now on. Open tickets finish on the generation that accepted them, whose memory
  // goes when nothing holds it any more. Errors: kInvalidArgument (a generation not above the last one, a
  // configuration that cannot be served, a name twice), kUnavailable (draining, no shared memory); the old
  // one then stays.
  Status configure(std::uint64_t generation, std::vector<EnsembleConfig> ensembles);

  // Probes, copies once and queues. Errors, and no Done follows: kInvalidContent, kUnsupported, kTooLarge
  // (the content, also when it could never fit the lane's share of queue or arena), kInvalidArgument (unknown
  // ensemble, wrong modality, ticket open, nothing configured), kDeadlineExceeded (passed already),
  // kOverloaded (queue or arena full), kUnavailable (draining, every ensemble wanted is at the quarantine
  // cap; while some are not, the others' heads are "unavailable" in the answer).
  Status submit(const Submission& submission);

  // Withdraws an open ticket: its Done is kCancelled. False when no such ticket is open.
  bool cancel(std::uint64_t ticket);

  // Closed batches, in flight from here on; ones whose rows all died meanwhile are not among them.
  std::vector<Batch> take_batches();

  // The server's answer. Every output's size is checked (else its head is missing, "bad_output"), every row's
  // finiteness too ("non_finite", that row only). A head with neither outputs nor a failure is "bad_output".
  // For a quarantined batch only the memory comes back. Errors: kInvalidArgument when the batch is not in
  // flight.
  Status complete(std::uint64_t batch_id, std::span<const OutputValues> outputs,
                  std::span<const HeadFailure> failures);

  // The server refused or failed the whole batch and reads it no more. REQUIRES: code != kOk.
  Status fail_batch(std::uint64_t batch_id, Code code, const std::string& message);

  // No answer is awaited any more, but the server may still read the batch: rows are answered "deadline", the
  // memory is held until complete(), fail_batch() or region_lost().
  Status quarantine(std::uint64_t batch_id);

  // The server process is certainly dead: every batch it held is over ("unavailable") and pools get new
  // region names. Of one generation, or of all. Errors: kUnavailable when there is no memory for new regions;
  // the old ones are then used on.
  Status region_lost(std::optional<std::uint64_t> generation = std::nullopt);

  // Answers since the last call, in the order they came about.
  std::vector<Done> poll_done();

  // Refuses new tickets and generations from now on and finishes the rest; stats().drained says when.
  void drain();

  // An eventfd, readable exactly while there are batches to take or answers to poll. Never read or close it.
  [[nodiscard]] int fd() const;

  [[nodiscard]] Stats stats() const;

 private:
  class Core;
  explicit Scheduler(std::unique_ptr<Core> core);
  const std::unique_ptr<Core> core_;
};

}  // namespace floodgate
