// The scheduler's inside. One lock; each member function's file is named for its step:
//  - scheduler.cc: construction, threads, options, stats
//  - generation.cc: configure, retirement, region_lost
//  - submission.cc: submit, cancel
//  - outlook.cc: what is queued, in time; whether new work fits
//  - decode_stage.cc: claims and decode workers
//  - dispatch.cc: expiry, batch rule, closing
//  - completion.cc: take, complete, fail, quarantine
//  - answer.cc: the one Done of a ticket
//  - audit.cc: whether the books balance
//
// Members named *_locked need `mu_` held. Nothing slow happens under it: probing, copying, decoding, moving
// rows and (un)mapping memory are all done without.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "ensemble.h"
#include "floodgate/arena.h"
#include "floodgate/arena_space.h"
#include "floodgate/scheduler.h"
#include "lane_queue.h"
#include "ticket.h"

namespace floodgate {

// A row being decoded: the job, and where its result belongs.
struct Claim {
  struct Place {
    Ensemble* ensemble = nullptr;
    std::uint32_t slot = 0;
    std::uint32_t index = 0;  // of the ensemble in Ticket::ensembles
  };
  std::shared_ptr<Ticket> ticket;
  std::uint32_t row = 0;
  std::vector<Place> places;
  std::vector<std::shared_ptr<SharedRegion>> regions;  // the rows' memory, one entry an ensemble
  bool digests = false;                                // nobody has made the digest of the ticket's bytes yet
  DecodeJob job;
};

class Scheduler::Core {
 public:
  Core(SchedulerOptions options, std::shared_ptr<Arena> arena, int event_fd);
  // Starts what decodes. Called once, before start().
  Status make_workers();
  ~Core();
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  // Starts the threads. Called once; after a failure only the destructor may follow.
  Status start();

  Status configure(std::uint64_t generation, std::vector<EnsembleConfig> ensembles);
  Status submit(const Submission& submission);
  bool cancel(std::uint64_t ticket);
  std::vector<Batch> take_batches();
  Status complete(std::uint64_t batch_id, std::span<const OutputValues> outputs,
                  std::span<const HeadFailure> failures);
  Status fail_batch(std::uint64_t batch_id, Code code, const std::string& message);
  Status quarantine(std::uint64_t batch_id);
  Status region_lost(std::optional<std::uint64_t> generation);
  std::vector<Done> poll_done();
  void drain();
  [[nodiscard]] int fd() const { return event_fd_; }
  [[nodiscard]] Stats stats() const;
  [[nodiscard]] Status audit() const;
  [[nodiscard]] const SchedulerOptions& options() const { return options_; }

 private:
  static constexpr std::uint32_t kWorkersToReserve = 3;  // from so many on, the first one is LIVE's
  using Lock = std::unique_lock<std::mutex>;
  using Batches = std::map<std::uint64_t, std::unique_ptr<BatchRecord>>;

  // submission.cc
  Status refuse(Status status);
  Result<std::shared_ptr<Ticket>> expand(const Submission& submission, Generation& generation) const;
  Status lay_out_text(const Submission& submission, Ticket& ticket) const;
  Status admit_locked(const Submission& submission, Ticket& ticket, Nanos now);
  Result<ArenaLease> copy(std::span<const std::uint8_t> data);

  // outlook.cc
  [[nodiscard]] double decode_ns_locked(const Ticket& ticket) const;
  [[nodiscard]] double row_cost_locked(const Ticket& ticket) const;
  [[nodiscard]] Nanos device_free_locked(const Ensemble& ensemble) const;
  [[nodiscard]] double committed_ns_locked(const Ensemble& ensemble, Nanos now) const;
  [[nodiscard]] bool hopeless_locked(const Ticket& ticket, Nanos now) const;
  [[nodiscard]] Status fits_locked(Ticket& ticket, Nanos now) const;
  void owe_locked(Ticket& ticket);
  void settle_decode_locked(Ticket& ticket, std::size_t rows);
  void owe_row_locked(Ticket& ticket, std::size_t index);
  void settle_row_locked(Ticket& ticket, std::size_t index);
  void settle_all_locked(Ticket& ticket);
  void observe_service_locked(const BatchRecord& record, Nanos now);

  // scheduler.cc
  // What jobs name their input by: all arenas, side by side.
  [[nodiscard]] std::span<const std::uint8_t> readable() const;
  [[nodiscard]] bool reserves_first_worker() const { return options_.decode_workers >= kWorkersToReserve; }

  // decode_stage.cc
  void work(std::uint32_t worker, bool live_only);
  Nanos make_digest(Ticket& ticket) const;
  bool claim_locked(std::uint32_t worker, bool live_only, Nanos now, Claim& claim);
  [[nodiscard]] bool may_take_locked(const Ticket& ticket, std::uint32_t worker, Nanos now) const;
  void bind_locked(const std::shared_ptr<Ticket>& ticket, std::uint32_t worker);
  void add_target_locked(Claim& claim, const Ensemble& ensemble, std::uint32_t slot) const;
  void finish_claim_locked(Claim& claim, const DecodeResult& result, Nanos now);
  void keep_rows_locked(Claim& claim, Nanos now);
  void shorten_sequence_locked(const std::shared_ptr<Ticket>& ticket, std::size_t rows);
  void clear_slot_locked(Ensemble& ensemble, std::uint32_t slot);

  // dispatch.cc
  void dispatch();
  void expire_locked(Nanos now);
  void drop_rows_locked(Ensemble& ensemble, std::uint32_t rows);
  Nanos step(Ensemble& ensemble, Nanos now, Lock& lock);
  void close_batch(Ensemble& ensemble, const Decision& decision, Nanos now, Lock& lock);
  [[nodiscard]] Nanos next_ready_locked(const Ensemble& ensemble, Nanos now) const;

  // generation.cc
  std::vector<std::unique_ptr<Generation>> take_finished_locked();
  [[nodiscard]] std::vector<Generation*> generations_locked() const;

  // completion.cc
  Result<Batches::iterator> find_sent_locked(std::uint64_t batch_id);
  void lose_rows_locked(BatchRecord& record, Code code, const std::string& message);
  void free_batch_locked(Batches::iterator batch);
  void forget_open_locked(const BatchRecord& record);

  // answer.cc
  void score_locked(const BatchRow& row, RowScores scores);
  void miss_locked(const BatchRow& row, const Ensemble& ensemble, const std::string& reason);
  void close_cell_locked(const std::shared_ptr<Ticket>& ticket);
  void finish_locked(const std::shared_ptr<Ticket>& ticket);
  void answer_locked(const std::shared_ptr<Ticket>& ticket, Code code, std::string message);
  void release_encoded_locked(Ticket& ticket);
  void signal_locked();
  void wake_dispatcher_locked();

  // Constant after construction.
  const SchedulerOptions options_;
  const int event_fd_;
  const std::shared_ptr<Arena> arena_;  // has its own lock
  std::unique_ptr<ArenaSpace> arenas_;  // with the foreign ones, where there are any

  mutable std::mutex mu_;
  std::condition_variable work_cv_;      // a worker may find a ticket with room
  std::condition_variable dispatch_cv_;  // `dirty_` or `stopping_` was set

  // Guarded by mu_.
  bool stopping_ = false;
  bool draining_ = false;
  bool dirty_ = false;      // something the dispatcher looks at has changed
  bool signalled_ = false;  // the eventfd is readable
  std::uint64_t last_generation_ = 0;
  std::uint64_t next_serial_ = 1;
  std::uint64_t next_batch_ = 1;
  std::uint64_t admitting_rows_ = 0;  // of tickets being copied
  std::uint64_t foreign_bytes_ = 0;   // held in foreign arenas
  double decode_ratio_ = 1.0;         // measured decode time over the probe's estimate, smoothed
  std::vector<std::unique_ptr<Generation>> generations_;  // oldest first; the last one takes tickets
  std::unordered_map<std::uint64_t, std::shared_ptr<Ticket>> tickets_;  // open, by the caller's id
  std::map<Ticket::Urgency, std::shared_ptr<Ticket>> deadlines_;
  LaneQueue queue_;
  Backlog decode_backlog_;  // ns of one worker
  LaneUsage decode_usage_;
  std::map<std::string, LaneUsage> device_usage_;  // by device; only ever grows
  LaneGuards lane_guards_;
  Batches batches_;                    // closed, in flight, quarantined
  std::deque<std::uint64_t> to_take_;  // closed
  std::vector<Done> done_;
  struct WorkerState {
    Nanos busy_since_ns = 0;                      // 0: idle
    Nanos free_ns = 0;                            // when it should be done; 0: idle
    std::deque<std::weak_ptr<Ticket>> sequences;  // that it keeps open, the last used one first
  };
  std::vector<WorkerState> worker_states_;
  Counters counters_;

  std::unique_ptr<DecodeWorkers> decode_workers_;
  std::vector<std::unique_ptr<DecodeWorker>> workers_;  // each its thread's own

  // Started last, joined first.
  std::vector<std::thread> threads_;
};

// Whether every ensemble that the group's next rows want has room for one more.
bool has_room(const LaneQueue::Group& group);

// Every head of the ensemble is missing for `reason`.
RowScores all_missing(const std::shared_ptr<const EnsembleConfig>& config, const std::string& reason);

// "unavailable", "overloaded", "deadline" or "failed".
std::string missing_reason(Code code);

}  // namespace floodgate
