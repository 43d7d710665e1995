#include "floodgate/batch_rule.h"

#include <algorithm>
#include <cmath>

namespace floodgate {
namespace {

Decision wait_until(Nanos until) { return {Action::kWait, until, 0, 0}; }

// kNever and sums near it stay kNever.
Nanos plus(Nanos time, Nanos more) { return time > kNever - more ? kNever : time + more; }

// The most rows whose batch, started at `start`, is answered by `deadline`; at most `limit`.
std::uint32_t rows_by(Nanos deadline, Nanos start, const ServiceModel& model, std::uint32_t limit) {
  std::uint32_t rows = limit;
  if (model.per_row_ns > 0) {
    const double budget = static_cast<double>(deadline) - static_cast<double>(start) - model.fixed_ns;
    rows = static_cast<std::uint32_t>(std::clamp(budget / model.per_row_ns, 0.0, static_cast<double>(limit)));
  }
  // The division rounds in double; the promise is in whole nanoseconds.
  while (rows < limit && plus(start, model.service_ns(rows + 1)) <= deadline) ++rows;
  while (rows > 0 && plus(start, model.service_ns(rows)) > deadline) --rows;
  return rows;
}

}  // namespace

Decision decide(const QueueSummary& queue, const ServiceModel& model, Nanos now) {
  const auto ready = static_cast<std::uint32_t>(queue.ready_deadlines.size());
  if (ready == 0) return wait_until(kNever);
  const auto alive = std::upper_bound(queue.ready_deadlines.begin(), queue.ready_deadlines.end(), now);
  const auto dead = static_cast<std::uint32_t>(alive - queue.ready_deadlines.begin());
  if (dead > 0) return {Action::kDrop, kNever, dead, 0};
  if (queue.in_flight >= queue.credit) return wait_until(queue.ready_deadlines.front());

  const bool idle = queue.in_flight == 0;
  const Nanos start = idle ? now : std::max(now, queue.device_free_ns);
  const Nanos alone = plus(start, model.service_ns(1));
  const auto binding = std::lower_bound(queue.ready_deadlines.begin(), queue.ready_deadlines.end(), alone);
  const auto hopeless = static_cast<std::uint32_t>(binding - queue.ready_deadlines.begin());
  const Nanos earliest = hopeless < ready ? *binding : kNever;
  const std::uint32_t most = rows_by(earliest, start, model, queue.capacity);
  const Decision cut{Action::kCut, kNever, std::min(ready, std::max(most, 1U)),
                     hopeless < ready ? hopeless : 0};

  if (ready >= queue.capacity || most <= ready) return cut;
  if (idle) {
    const bool due = queue.next_ready_ns > now && queue.next_ready_ns != kNever;
    const Nanos patience = plus(queue.oldest_ready_ns, static_cast<Nanos>(model.fixed_ns));
    const bool in_time = due && plus(queue.next_ready_ns, model.service_ns(ready + 1)) <= earliest;
    if (due && in_time && queue.next_ready_ns < patience) return wait_until(queue.next_ready_ns);
    return cut;
  }
  // Another row still fits a start at device_free_ns, so holding until then costs no deadline.
  const Nanos hold = queue.device_free_ns - kHandOverNs;
  return hold > now ? wait_until(hold) : cut;
}

}  // namespace floodgate
