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

#include "floodgate/arena.h"
#include "floodgate/batch.h"
#include "floodgate/clock.h"
#include "floodgate/decode_worker.h"
#include "floodgate/job.h"
#include "floodgate/lane_shares.h"
#include "floodgate/media.h"
#include "floodgate/stats.h"
#include "floodgate/status.h"

namespace floodgate {

// The share of queue and arena that only LIVE may use, unless told otherwise.
inline constexpr double kLiveReserve = 0.1;

using ProbeFn = std::function<Result<MediaInfo>(std::span<const std::uint8_t>, const MediaLimits&)>;

// What decodes from the arena, whose bytes it is given.
using WorkersFn = std::function<std::unique_ptr<DecodeWorkers>(std::span<const std::uint8_t> arena)>;

struct SchedulerOptions {
  LaneFloors lane_floors = kDefaultFloors;
  std::uint32_t decode_workers = 1;  // 1..256; with three or more, the first one serves LIVE only
  std::uint64_t arena_bytes = 256 << 20;
  std::uint32_t max_queue_rows = 4096;  // rows waiting for a decode
  Nanos max_wait_ns = 30 * kSecond;    // what has no earlier deadline must be expected to be answered by then
  double live_reserve = kLiveReserve;  // [0, 1): share of queue and arena that only LIVE may use
  std::uint32_t quarantine_cap = 2;    // >= 1: quarantined buffers at which an ensemble takes no more tickets
  MediaLimits media_limits;
  std::uint64_t max_text_bytes = 1 << 20;
  DecodeOptions decode_options;
  ServiceModel initial_model;
  // Arenas that others fill, one each, and may change at any time; the scheduler and its workers only read
  // them.
  std::vector<std::shared_ptr<SharedRegion>> foreign_arenas;
  // Decode in sandboxed processes; empty: on threads. `arena_fd` and `arena_bytes` are filled in.
  std::optional<SandboxOptions> sandbox;
  ProbeFn probe;      // empty: floodgate::probe
  DecodeFn decode;    // threads only; empty: decode_and_render
  WorkersFn workers;  // empty: as `sandbox` and `decode` say
  // Pictures go to it first, and image ensembles' buffers are mirrored on it; empty: none.
  std::shared_ptr<Device> device;
};

// Whoever fills a foreign arena. Called with the scheduler's lock held: must return at once, and call nothing
// of the scheduler. One answered() and one released() for every ticket that submit() took, in either order.
class Submitter {
 public:
  virtual ~Submitter() = default;
  // Instead of poll_done().
  virtual void answered(Done done) = 0;
  // Nobody reads the ticket's bytes any more. `over`: answered() came before. `digest`: of the bytes, once a
  // worker has made it.
  virtual void released(std::uint64_t ticket, bool over, const std::optional<Sha256>& digest) = 0;
};

// Bytes that lie in a foreign arena already. A text is copied from there all the same, and its bytes are
// released before submit() is back: it is checked and laid out here, and must stay what was checked.
struct ForeignBytes {
  std::shared_ptr<Submitter> submitter;
  std::size_t arena = 0;  // index into SchedulerOptions::foreign_arenas
  ArenaBlock block;       // in that arena; REQUIRES: inside it, and not empty
  MediaInfo info;         // pictures and videos: what a probe said, by the same limits
};

struct Submission {
  std::uint64_t ticket = 0;  // the caller's; must not be that of an open ticket
  std::vector<std::string> ensembles;
  Modality modality = Modality::kImage;
  std::span<const std::uint8_t>
      data;  // borrowed for the call, copied once; of foreign bytes only a text's, not as they lie there
  SamplingPlan plan;  // videos and animated pictures
  Lane lane = Lane::kStandard;
  Nanos deadline_ns = kNever;  // CLOCK_MONOTONIC
  std::optional<ForeignBytes> foreign;
};

// Of `limit`, what a lane may use: all but LIVE leave `live_reserve` of it.
std::uint64_t lane_share(Lane lane, std::uint64_t limit, double live_reserve);

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

  // Probes, copies once and queues; foreign bytes were probed and copied by whoever submits them. Errors, and
  // no Done follows: kInvalidContent, kUnsupported, kTooLarge (the content, also when it could never fit the
  // lane's share of queue or arena), kInvalidArgument (unknown ensemble, wrong modality, ticket open, nothing
  // configured), kDeadlineExceeded (passed already), kOverloaded (queue or arena full; or, given what waits,
  // it could not be answered by its deadline, or only at the cost of a deadline that was accepted before),
  // kUnavailable (draining, every ensemble wanted is at the quarantine cap; while some are not, the others'
  // heads are "unavailable" in the answer).
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
  [[nodiscard]] const std::vector<std::shared_ptr<SharedRegion>>& foreign_arenas() const;

  // Counts again what is kept twice: slots, buffers, rows, arena bytes, what waits, what holds a generation.
  // For tests and debugging: slow, and under the lock. Errors: kInternal, naming the first that is wrong.
  [[nodiscard]] Status audit() const;

 private:
  class Core;
  explicit Scheduler(std::unique_ptr<Core> core);
  const std::unique_ptr<Core> core_;
};

}  // namespace floodgate
