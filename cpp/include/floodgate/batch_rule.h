// When to close a batch, and at how many rows: a pure function of a summary, a model and the time.
//
// Service time of n rows is modelled as L(n) = a + b n (a: fixed cost of a call, b: cost of a row), fitted
// online by ServiceFit from completed batches, time spent queueing in the server excluded. Decoding is not in
// it: it shows as QueueSummary::next_ready_ns. Ensembles that share a device slow each other down, which each
// one's own fit sees. Thread rule: values; nothing here reads a clock.
#pragma once

#include <cstdint>
#include <span>

#include "floodgate/clock.h"
#include "floodgate/guard.h"

namespace floodgate {

// L(n) = fixed_ns + per_row_ns * n. Both are >= 0. What admission promises, and
// what an idle device waits for, is guard * L(n), guard >= 1.
struct ServiceModel {
  double fixed_ns = 2e6;
  double per_row_ns = 3e6;
  double guard = 1;

  [[nodiscard]] Nanos service_ns(std::uint32_t rows) const {
    return static_cast<Nanos>(fixed_ns + per_row_ns * rows);
  }
  [[nodiscard]] Nanos promise_ns(std::uint32_t rows) const {
    return static_cast<Nanos>(guard * (fixed_ns + per_row_ns * rows));
  }
};

// Exponentially forgetting least squares of service time on rows.
//
// Robust: an observation counts for no more than kClip times what the model predicts, once the model rests on
// kTrusted observations; one of less than a kClip-th says that what was slow is over, and halves what is
// remembered. a and b never fall below 0; while all batches have had about the same size the two cannot be
// told apart, and both are scaled by one factor so that L at that size is right. The guard follows the kKept
// quantile of measured over predicted time: it rises at once when predictions miss, and falls slowly while
// they hold.
class ServiceFit {
 public:
  static constexpr double kForget = 0.95;  // weight of the past at each observation: ~20 batches of memory
  static constexpr double kSurprised = 0.5;
  static constexpr double kClip = 4.0;
  static constexpr int kTrusted = 8;
  static constexpr double kKept = 0.95;
  static constexpr double kGuardStep = 0.1;  // of the guard's logarithm
  static constexpr double kMostGuard = 4.0;

  explicit ServiceFit(ServiceModel initial = {}) : model_(initial) {}

  // Ignored: no rows, or a negative time.
  void observe(std::uint32_t rows, Nanos service_ns);
  [[nodiscard]] const ServiceModel& model() const { return model_; }

 private:
  void forget(double kept);

  ServiceModel model_;
  Guard guard_{kKept, kGuardStep, kMostGuard};
  int seen_ = 0;
  double weight_ = 0;
  double rows_ = 0;
  double time_ = 0;
  double rows_rows_ = 0;
  double rows_time_ = 0;
};

// One ensemble's queue as the rule sees it.
struct QueueSummary {
  std::span<const Nanos> ready_deadlines;  // of the rows ready to go, ascending
  std::uint32_t capacity = 1;              // rows a batch may hold
  std::uint32_t in_flight = 0;             // batches closed and not yet answered
  std::uint32_t credit = 1;                // most batches in flight at once
  Nanos oldest_ready_ns = kNever;          // when the longest-waiting row became ready
  Nanos next_ready_ns = kNever;            // when the next row is expected to be; kNever: none is on its way
  Nanos device_free_ns = 0;                // when the batches in flight are expected to be answered
  std::uint32_t coming = 0;  // rows in or before decoding on the device's own cores; 0: none is done there
};

enum class Action : std::uint8_t { kWait, kCut, kDrop };

struct Decision {
  Action action = Action::kWait;
  Nanos until_ns = kNever;  // kWait: decide again then, or when the summary changes
  std::uint32_t rows = 0;   // kCut, kDrop: how many rows, those with the earliest deadlines

  bool operator==(const Decision&) const = default;
};

// The hand-over of a closed batch to the server: a batch is closed this long before a busy device comes free.
inline constexpr Nanos kHandOverNs = 500 * kMicrosecond;

// In this order:
//  - rows already dead are dropped;
//  - rows that no batch can serve in time are dropped, unless there are no others: then they go all the same,
//    or a model that is wrong would never be put right;
//  - nothing ready, or no credit: wait (for the summary to change, or the next row to die);
//  - a busy device: hold until just before it comes free, however many are ready: a more urgent row may still
//    come, and what is not closed can still be given up;
//  - an idle device: a full buffer, or as many rows as the earliest deadline allows, goes at once; so do
//    fewer, unless a row is due before `a` has passed since the oldest one became ready (it would cost its
//    own `a` otherwise) and the earliest deadline can still be met with it on board;
//  - where rows are decoded on the device's own cores these never idle meanwhile. Every row that a batch need
//    not leave behind spares all that are still coming an `a`, so the ready ones wait for the next one as
//    long as that gains those behind more than it costs them, though never longer than a full batch takes;
//    and nothing is closed before the device is free;
//  - a cut takes the most rows that still meet the earliest deadline.
// REQUIRES: capacity >= 1, ready_deadlines ascending and no longer than capacity.
Decision decide(const QueueSummary& queue, const ServiceModel& model, Nanos now);

}  // namespace floodgate
