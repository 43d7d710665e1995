#include "floodgate/batch_rule.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace floodgate {
namespace {

// Of the service time of a full batch: a batch is closed so much sooner, for what predictions miss.
constexpr double kSpread = 0.1;

Decision wait_until(Nanos until) { return {Action::kWait, until, 0}; }

// kNever and sums near it stay kNever.
Nanos plus(Nanos time, Nanos more) { return time > kNever - more ? kNever : time + more; }

// The most rows whose batch, started at `start`, should be answered by `deadline`; at most `limit`.
std::uint32_t rows_by(Nanos deadline, Nanos start, const ServiceModel& model, std::uint32_t limit) {
  std::uint32_t rows = limit;
  const double per_row = model.per_row_ns;
  if (per_row > 0) {
    const double budget = static_cast<double>(deadline) - static_cast<double>(start) - model.fixed_ns;
    rows = static_cast<std::uint32_t>(std::clamp(budget / per_row, 0.0, static_cast<double>(limit)));
  }
  // The division rounds in double; service times are whole nanoseconds.
  while (rows < limit && plus(start, model.service_ns(rows + 1)) <= deadline) ++rows;
  while (rows > 0 && plus(start, model.service_ns(rows)) > deadline) --rows;
  return rows;
}

// How many of the earliest rows had better be given up, so that the others need not go in a small batch: a
// batch of n rows is worth them less the rows that full batches would have served in its time.
std::uint32_t worth_giving_up(std::span<const Nanos> deadlines, Nanos start, const ServiceModel& model,
                              std::uint32_t capacity) {
  const auto ready = static_cast<std::uint32_t>(deadlines.size());
  const double pace = capacity / static_cast<double>(std::max<Nanos>(1, model.service_ns(capacity)));
  std::uint32_t best = 0;
  double most = -std::numeric_limits<double>::infinity();
  for (std::uint32_t given_up = 0; given_up < ready; ++given_up) {
    const std::uint32_t limit = std::min(ready - given_up, capacity);
    const std::uint32_t rows = std::max(rows_by(deadlines[given_up], start, model, limit), 1U);
    const double worth =
        rows - pace * static_cast<double>(model.service_ns(rows)) - static_cast<double>(given_up);
    if (worth > most) {
      most = worth;
      best = given_up;
    }
    if (rows == limit) break;  // giving up more only shortens the batch
  }
  return best;
}

// On cores that it shares with decoding: how long the ready rows had better wait for more. `now`: not at all.
Nanos worth_waiting(const QueueSummary& queue, const ServiceModel& model, Nanos earliest, Nanos now) {
  const auto ready = static_cast<std::uint32_t>(queue.ready_deadlines.size());
  const Nanos full = model.service_ns(queue.capacity);
  if (queue.in_flight > 0) {
    // Its answer is what is waited for; that it is late is no reason to have another behind it.
    const Nanos start = std::max(now, queue.device_free_ns);
    const Nanos latest = earliest - model.promise_ns(ready + 1);
    return start <= latest ? std::min(plus(queue.device_free_ns, full), latest) : now;
  }
  if (queue.next_ready_ns == kNever) return now;
  // What is overdue may come at any moment.
  constexpr double kSoon = 0.25;
  const Nanos soon = now + static_cast<Nanos>(kSoon * model.fixed_ns);
  const Nanos next = queue.next_ready_ns > now ? queue.next_ready_ns : soon;
  const bool pays = ready * static_cast<double>(next - now) <= queue.coming * model.fixed_ns;
  const bool fits = plus(next, model.promise_ns(ready + 1)) <= earliest;
  return pays && fits && next <= plus(queue.oldest_ready_ns, full) ? next : now;
}

}  // namespace

Decision decide(const QueueSummary& queue, const ServiceModel& model, Nanos now) {
  const auto ready = static_cast<std::uint32_t>(queue.ready_deadlines.size());
  if (ready == 0) return wait_until(kNever);
  const auto alive = std::upper_bound(queue.ready_deadlines.begin(), queue.ready_deadlines.end(), now);
  const auto dead = static_cast<std::uint32_t>(alive - queue.ready_deadlines.begin());
  if (dead > 0) return {Action::kDrop, kNever, dead};
  if (queue.in_flight >= queue.credit) return wait_until(queue.ready_deadlines.front());

  const bool idle = queue.in_flight == 0;
  const Nanos start = idle ? now : std::max(now, queue.device_free_ns);
  const Nanos alone = plus(start, model.service_ns(1));
  const auto in_time = std::lower_bound(queue.ready_deadlines.begin(), queue.ready_deadlines.end(), alone);
  const auto hopeless = static_cast<std::uint32_t>(in_time - queue.ready_deadlines.begin());
  if (hopeless > 0 && hopeless < ready) return {Action::kDrop, kNever, hopeless};
  const Nanos earliest = hopeless == 0 ? queue.ready_deadlines.front() : kNever;
  const std::uint32_t most = std::max(rows_by(earliest, start, model, queue.capacity), 1U);
  const Decision cut = [&]() -> Decision {
    if (most < std::min(ready, queue.capacity) && hopeless == 0) {
      const std::uint32_t given_up = worth_giving_up(queue.ready_deadlines, start, model, queue.capacity);
      if (given_up > 0) return {Action::kDrop, kNever, given_up};
    }
    return {Action::kCut, kNever, std::min(ready, most)};
  }();

  if (queue.coming > 0 && ready < queue.capacity && ready < most) {
    const Nanos until = worth_waiting(queue, model, earliest, now);
    if (until > now) return wait_until(until);
  }
  if (idle) {
    if (ready >= queue.capacity || most <= ready) return cut;
    const bool due = queue.next_ready_ns > now && queue.next_ready_ns != kNever;
    const Nanos patience = plus(queue.oldest_ready_ns, static_cast<Nanos>(model.fixed_ns));
    const bool fits = due && plus(queue.next_ready_ns, model.promise_ns(ready + 1)) <= earliest;
    if (due && fits && queue.next_ready_ns < patience) return wait_until(queue.next_ready_ns);
    return cut;
  }
  // Until the device comes free nothing is lost: a more urgent row may still come, and what is not closed can
  // still be given up. A device that is done sooner than predicted must not run dry, though.
  const auto spread = static_cast<Nanos>(kSpread * static_cast<double>(model.service_ns(queue.capacity)));
  const Nanos hold = queue.device_free_ns - kHandOverNs - spread;
  return hold > now ? wait_until(hold) : cut;
}

}  // namespace floodgate
