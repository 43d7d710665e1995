#include <algorithm>
#include <string>

#include "core.h"

namespace floodgate {
namespace {

// A batch's size moves this far towards each new one.
constexpr double kTypicalStep = 0.2;
// Sooner another try would only meet the same queue.
constexpr Nanos kLeastRetryNs = 10 * kMillisecond;
constexpr Nanos kMostRetryNs = 10 * kSecond;
// What was learned of an ensemble that has done nothing for so long is not held against new work.
constexpr Nanos kStaleNs = 500 * kMillisecond;

// Time of the device that one row of a full batch takes.
double row_ns(const Ensemble& ensemble) {
  const std::uint32_t full = ensemble.pool->max_rows();
  return static_cast<double>(ensemble.fit.model().service_ns(full)) / full;
}

// Whether nothing is known of how fast an ensemble is now: nothing is under way, nor was lately. Were work
// refused for what was true then, it would never be learned that it is true no more.
bool is_stale(const Ensemble& ensemble, Nanos now) {
  return ensemble.backlog.empty() && ensemble.open.empty() && ensemble.decoding == 0 && ensemble.ready == 0 &&
         ensemble.moving == 0 && now - ensemble.last_answer_ns > kStaleNs;
}

std::string milliseconds(Nanos time) { return std::to_string(time / kMillisecond) + " ms"; }

}  // namespace

// Expected of a ticket's next row, in one worker's time.
double Scheduler::Core::decode_ns_locked(const Ticket& ticket) const {
  return static_cast<double>(ticket.info.decode_cost_ns) * decode_ratio_;
}

// What a ticket's next row takes of everybody's time.
double Scheduler::Core::row_cost_locked(const Ticket& ticket) const {
  double cost = decode_ns_locked(ticket) / options_.decode_workers;
  const TicketRow& row = ticket.rows[ticket.next_row];
  for (std::size_t i = 0; i < ticket.ensembles.size(); ++i) {
    if (row.cells[i].state == CellState::kWaiting) cost += row_ns(*ticket.ensembles[i]);
  }
  return cost;
}

// When the batches that are closed should all be answered.
Nanos Scheduler::Core::device_free_locked(const Ensemble& ensemble) const {
  Nanos free = ensemble.last_answer_ns;
  for (const BatchRecord* record : ensemble.open) {
    free = std::max(free, record->started_ns) +
           ensemble.fit.model().service_ns(static_cast<std::uint32_t>(record->rows.size()));
  }
  return free;
}

// Time of the device for the rows that workers have taken and nobody has answered yet.
double Scheduler::Core::committed_ns_locked(const Ensemble& ensemble, Nanos now) const {
  const Nanos busy = std::max<Nanos>(0, device_free_locked(ensemble) - now);
  return static_cast<double>(busy) + (ensemble.ready + ensemble.decoding) * row_ns(ensemble);
}

// Whether no ensemble could say anything of the ticket by its deadline, were it decoded now. Nothing has been
// done for it yet.
bool Scheduler::Core::hopeless_locked(const Ticket& ticket, Nanos now) const {
  if (ticket.first_decode_ns != 0 || ticket.deadline_ns == kNever || ticket.is_trial) return false;
  const Nanos decoded = now + static_cast<Nanos>(decode_ns_locked(ticket));
  return std::ranges::all_of(ticket.ensembles, [&](const Ensemble* ensemble) {
    const Nanos start = std::max(decoded, device_free_locked(*ensemble));
    return start + ensemble->fit.model().service_ns(1) > ticket.deadline_ns;
  });
}

// Sequences count with their first frame: as many more are judged as there is time for.
Status Scheduler::Core::fits_locked(Ticket& ticket, Nanos now) const {
  const Lane lane = ticket.lane;
  const Nanos deadline = std::min(ticket.deadline_ns, now + options_.max_wait_ns);
  const double decode = decode_ns_locked(ticket);
  const std::uint64_t rows = ticket.is_sequence() ? 1 : ticket.rows.size();
  std::vector<Stage> stages = {{&decode_backlog_, &decode_usage_, rows * static_cast<std::uint64_t>(decode),
                                1.0, 0, static_cast<double>(options_.decode_workers)}};
  ticket.is_trial = std::ranges::all_of(ticket.ensembles,
                                        [&](const Ensemble* ensemble) { return is_stale(*ensemble, now); });
  for (const Ensemble* ensemble : ticket.ensembles) {
    if (ticket.is_trial) break;
    const ServiceModel& model = ensemble->fit.model();
    const auto batch = static_cast<std::uint32_t>(std::clamp(
        ensemble->typical_rows + static_cast<double>(rows), 1.0, 1.0 * ensemble->pool->max_rows()));
    const Nanos own = model.promise_ns(batch);
    // What was taken before goes first, whatever its lane.
    const double first = std::max(decode, committed_ns_locked(*ensemble, now));
    stages.front().after_ns = std::max(stages.front().after_ns, own);
    stages.push_back({&ensemble->backlog, ensemble->device_usage, rows, row_ns(*ensemble) * model.guard,
                      own + static_cast<Nanos>(first)});
  }
  const auto outlook = look_at(stages, lane, deadline, options_.lane_floors, lane_guards_.factor(lane), now);
  if (outlook.late_ns == 0) return {};
  return {Code::kOverloaded,
          "it could not be answered in time: what waits before it takes " +
              milliseconds(outlook.finish_ns - now) + ", " + milliseconds(outlook.late_ns) + " too long",
          std::clamp(outlook.late_ns, kLeastRetryNs, kMostRetryNs)};
}

void Scheduler::Core::owe_locked(Ticket& ticket) {
  const bool firm = !ticket.is_sequence();
  ticket.row_decode_ns = static_cast<std::uint64_t>(decode_ns_locked(ticket));
  ticket.decode_owed_ns = ticket.row_decode_ns * (ticket.rows.size() - ticket.next_row);
  decode_backlog_.add(ticket.lane, ticket.deadline_ns, ticket.decode_owed_ns, firm);
  ticket.rows_owed.assign(ticket.ensembles.size(), 0);
  for (const TicketRow& row : ticket.rows) {
    for (std::size_t i = 0; i < row.cells.size(); ++i) {
      if (row.cells[i].state == CellState::kWaiting) ++ticket.rows_owed[i];
    }
  }
  for (std::size_t i = 0; i < ticket.ensembles.size(); ++i) {
    ticket.ensembles[i]->backlog.add(ticket.lane, ticket.deadline_ns, ticket.rows_owed[i], firm);
  }
}

void Scheduler::Core::settle_decode_locked(Ticket& ticket, std::size_t rows) {
  const std::uint64_t work = std::min(ticket.decode_owed_ns, ticket.row_decode_ns * rows);
  ticket.decode_owed_ns -= work;
  decode_backlog_.remove(ticket.lane, ticket.deadline_ns, work, !ticket.is_sequence());
}

void Scheduler::Core::owe_row_locked(Ticket& ticket, std::size_t index) {
  ++ticket.rows_owed[index];
  ticket.ensembles[index]->backlog.add(ticket.lane, ticket.deadline_ns, 1, !ticket.is_sequence());
}

void Scheduler::Core::settle_row_locked(Ticket& ticket, std::size_t index) {
  if (ticket.rows_owed[index] == 0) return;
  --ticket.rows_owed[index];
  ticket.ensembles[index]->backlog.remove(ticket.lane, ticket.deadline_ns, 1, !ticket.is_sequence());
}

void Scheduler::Core::settle_all_locked(Ticket& ticket) {
  const bool firm = !ticket.is_sequence();
  decode_backlog_.remove(ticket.lane, ticket.deadline_ns, ticket.decode_owed_ns, firm);
  ticket.decode_owed_ns = 0;
  for (std::size_t i = 0; i < ticket.rows_owed.size(); ++i) {
    ticket.ensembles[i]->backlog.remove(ticket.lane, ticket.deadline_ns, ticket.rows_owed[i], firm);
    ticket.rows_owed[i] = 0;
  }
}

// REQUIRES: the record is not among its ensemble's open batches any more; last_answer_ns is not yet `now`.
void Scheduler::Core::observe_service_locked(const BatchRecord& record, Nanos now) {
  Ensemble& ensemble = *record.ensemble;
  const auto rows = static_cast<std::uint32_t>(record.rows.size());
  const Nanos service = now - std::max(record.started_ns, ensemble.last_answer_ns);
  ensemble.fit.observe(rows, service);
  ensemble.typical_rows += kTypicalStep * (rows - ensemble.typical_rows);
  for (const BatchRow& row : record.rows) {
    ensemble.device_usage->served(row.ticket->lane, static_cast<double>(service) / rows, now);
  }
}

}  // namespace floodgate
