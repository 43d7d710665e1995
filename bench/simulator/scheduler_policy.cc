#include "scheduler_policy.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace floodgate::simulator {
namespace {

constexpr Nanos kQuarantineAfterNs = 250 * kMillisecond;  // of a batch's last deadline

}  // namespace

SchedulerPolicy::SchedulerPolicy(const Settings& settings)
    : Simulation(settings),
      floors_{settings.number("floor_standard"), settings.number("floor_live"),
              settings.number("floor_bulk")},
      shares_(floors_),
      capacity_(static_cast<std::uint32_t>(settings.number("batch"))),
      decode_ns_(static_cast<std::uint64_t>(settings.us("decode_us"))),
      distinct_devices_((settings.number("declared_devices") > 0 ? settings.number("declared_devices")
                                                                 : settings.number("devices")) > 1) {}

bool SchedulerPolicy::admit(const Item& item) {
  Ensemble& ensemble = ensembles_[item.ensemble];
  const ServiceModel& model = ensemble.fit.model();
  const double guarded = row_ns(ensemble) * model.guard;
  const auto batch = static_cast<std::uint32_t>(std::clamp(ensemble.typical_rows + 1, 1.0, 1.0 * capacity_));
  const Nanos own = model.promise_ns(batch);
  const double committed = static_cast<double>(std::max<Nanos>(0, device_free(item.ensemble) - now())) +
                           static_cast<double>(ensemble.ready.size() + ensemble.coming) * row_ns(ensemble);
  const double first = std::max(static_cast<double>(decode_ns_), committed);
  const std::array stages = {
      Stage{&decode_backlog_, &decode_usage_, decode_ns_, 1, own, settings().number("workers")},
      Stage{&ensemble.backlog, &usage(item.ensemble), 1, guarded, own + static_cast<Nanos>(first)}};
  const auto outlook = look_at(stages, item.lane, item.deadline, floors_, guards_.factor(item.lane), now());
  if (outlook.late_ns > 0) return false;
  decode_backlog_.add(item.lane, item.deadline, decode_ns_);
  ensemble.backlog.add(item.lane, item.deadline, 1);
  ensemble.waiting[lane_index(item.lane)].emplace(item.deadline, item);
  return true;
}

void SchedulerPolicy::decoded(const Item& item) {
  Ensemble& ensemble = ensembles_[item.ensemble];
  decode_backlog_.remove(item.lane, item.deadline, decode_ns_);
  decode_usage_.served(item.lane, static_cast<double>(decode_ns_) / settings().number("workers"), now());
  --ensemble.coming;
  if (ensemble.ready.empty()) ensemble.oldest_ready = now();
  ensemble.ready.emplace(item.deadline, item);
}

void SchedulerPolicy::done(std::size_t index, const Flight& flight) {
  Ensemble& ensemble = ensembles_[index];
  const Nanos service = now() - std::max(flight.sent, ensemble.last_answer);
  const auto rows = static_cast<std::uint32_t>(flight.rows.size());
  ensemble.fit.observe(rows, service);
  ensemble.typical_rows += 0.2 * (rows - ensemble.typical_rows);
  ensemble.last_answer = now();
  const Nanos last =
      std::ranges::max_element(flight.rows, {}, [](const Item& item) { return item.deadline; })->deadline;
  const bool stood = now() > last + kQuarantineAfterNs || stands_still();
  for (const Item& item : flight.rows) {
    usage(index).served(item.lane, static_cast<double>(service) / rows, now());
    observe(item, now() > item.deadline, stood);
  }
}

void SchedulerPolicy::observe(const Item& item, bool missed, bool standing) {
  guards_.observe(item.lane, missed, standing);
  tally().guards[lane_index(item.lane)] = guards_.factor(item.lane);
}

bool SchedulerPolicy::stands_still() const {
  for (std::size_t i = 0; i < kEnsembles; ++i) {
    for (const Flight& flight : flights(i)) {
      if (std::ranges::all_of(flight.rows,
                              [&](const Item& item) { return now() > item.deadline + kQuarantineAfterNs; })) {
        return true;
      }
    }
  }
  return false;
}

void SchedulerPolicy::drop(const Item& item) {
  ++tally().dropped[lane_index(item.lane)];
  observe(item, true, stands_still());
}

void SchedulerPolicy::step() {
  take();
  for (std::size_t i = 0; i < kEnsembles; ++i) {
    Ensemble& ensemble = ensembles_[i];
    for (;;) {
      std::vector<Nanos> deadlines;
      for (const auto& [deadline, item] : ensemble.ready) deadlines.push_back(deadline);
      QueueSummary summary{deadlines, capacity_, static_cast<std::uint32_t>(flights(i).size()),
                           static_cast<std::uint32_t>(settings().number("credit"))};
      summary.oldest_ready_ns = ensemble.oldest_ready;
      summary.next_ready_ns = ensemble.coming > 0 ? now() + static_cast<Nanos>(decode_ns_) : kNever;
      summary.device_free_ns = device_free(i);
      const Decision decision = decide(summary, ensemble.fit.model(), now());
      if (decision.action == Action::kWait) {
        wake(decision.until_ns);
        break;
      }
      std::vector<Item> rows;
      for (std::uint32_t row = 0; row < decision.rows; ++row) {
        rows.push_back(ensemble.ready.begin()->second);
        ensemble.ready.erase(ensemble.ready.begin());
      }
      ensemble.oldest_ready = now();
      if (decision.action == Action::kDrop) {
        for (const Item& item : rows) drop(item);
      } else {
        send(i, std::move(rows));
      }
      take();
    }
  }
}

// The most urgent item of a lane whose ensemble has room for one more row.
Item* SchedulerPolicy::first(std::size_t lane) {
  Item* found = nullptr;
  for (Ensemble& ensemble : ensembles_) {
    Waiting& waiting = ensemble.waiting[lane];
    if (waiting.empty() || ensemble.ready.size() + ensemble.coming >= capacity_) continue;
    Item& item = waiting.begin()->second;
    if (found == nullptr || item.deadline < found->deadline) found = &item;
  }
  return found;
}

void SchedulerPolicy::take() {
  while (worker_is_free()) {
    LaneShares::Costs costs;
    std::array<bool, kLanes> busy = {};
    std::size_t all = 0;
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      for (const Ensemble& ensemble : ensembles_) all += ensemble.waiting[lane].size();
      busy[lane] = std::ranges::any_of(
          ensembles_, [&](const Ensemble& ensemble) { return !ensemble.waiting[lane].empty(); });
      if (const Item* item = first(lane)) {
        costs[lane] = static_cast<double>(decode_ns_) / settings().number("workers") +
                      row_ns(ensembles_[item->ensemble]);
      }
    }
    const auto lane = shares_.next(costs);
    if (!lane) return;
    const Item item = *first(lane_index(*lane));
    Ensemble& ensemble = ensembles_[item.ensemble];
    Waiting& queue = ensemble.waiting[lane_index(*lane)];
    queue.erase(queue.begin());
    ensemble.backlog.remove(item.lane, item.deadline, 1);
    const Nanos start = std::max(now() + static_cast<Nanos>(decode_ns_), device_free(item.ensemble));
    if (all > 1 && start + ensemble.fit.model().service_ns(1) > item.deadline) {
      decode_backlog_.remove(item.lane, item.deadline, decode_ns_);
      drop(item);
      continue;
    }
    shares_.charge(*lane, *costs[lane_index(*lane)], busy);
    ++ensemble.coming;
    decode(item);
  }
}

double SchedulerPolicy::row_ns(const Ensemble& ensemble) const {
  return static_cast<double>(ensemble.fit.model().service_ns(capacity_)) / capacity_;
}

Nanos SchedulerPolicy::device_free(std::size_t index) const {
  const Ensemble& ensemble = ensembles_[index];
  Nanos free = ensemble.last_answer;
  for (const Flight& flight : flights(index)) {
    free = std::max(free, flight.sent) +
           ensemble.fit.model().service_ns(static_cast<std::uint32_t>(flight.rows.size()));
  }
  return free;
}

}  // namespace floodgate::simulator
