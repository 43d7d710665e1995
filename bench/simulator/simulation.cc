#include "simulation.h"

#include <algorithm>
#include <utility>

namespace floodgate::simulator {

Tally Simulation::run() {
  Arrivals arrivals(settings_, random_);
  const Nanos end = static_cast<Nanos>(settings_.number("seconds") * 1e9);
  Nanos arrival = arrivals.next();
  while (arrival < end || !events_.empty()) {
    if (arrival < end && (events_.empty() || arrival <= events_.top().time)) {
      now_ = arrival;
      arrive();
      arrival = arrivals.next();
    } else {
      const Event event = events_.top();
      events_.pop();
      now_ = event.time;
      if (event.kind == Event::kDecoded) {
        --decoding_;
        decoded(event.item);
      } else if (event.kind == Event::kAnswered) {
        answered(event.item.ensemble);
      } else if (event.time == wake_) {
        wake_ = kNever;
      }
    }
    step();
  }
  return tally_;
}

void Simulation::decode(const Item& item) {
  ++decoding_;
  events_.push({now_ + settings_.us("decode_us"), Event::kDecoded, item});
}

void Simulation::wake(Nanos time) {
  if (time == kNever) return;
  const Nanos next = std::max(time, now_ + 1);
  if (next >= wake_) return;
  wake_ = next;
  events_.push({next, Event::kWake, {}});
}

void Simulation::send(std::size_t ensemble, std::vector<Item> rows) {
  const double noise = std::normal_distribution(1.0, settings_.number("noise"))(random_);
  const double service =
      (settings_.number("a_ms") + settings_.number("b_ms") * static_cast<double>(rows.size())) * 1e6 *
      std::clamp(noise, 0.5, 3.0);
  Nanos& free = device_free_[settings_.number("devices") > 1 ? ensemble : 0];
  Nanos start = std::max(now_ + settings_.us("handover_us"), free);
  const auto stall = static_cast<Nanos>(settings_.number("stall_at_s") * 1e9);
  if (start >= stall) start = std::max(start, stall + settings_.ms("stall_ms"));
  free = start + static_cast<Nanos>(service);
  ++tally_.batches;
  tally_.rows += rows.size();
  tally_.busy_ns += service;
  flights_[ensemble].push_back({std::move(rows), now_});
  Item which;
  which.ensemble = ensemble;
  events_.push({free, Event::kAnswered, which});
}

void Simulation::arrive() {
  const double which = std::uniform_real_distribution(0.0, 1.0)(random_);
  Item item;
  item.arrived = now_;
  const bool live = which < settings_.number("live");
  const bool bulk = which >= 1 - settings_.number("bulk");
  item.lane = live ? Lane::kLive : bulk ? Lane::kBulk : Lane::kStandard;
  const std::string lane = live ? "live" : bulk ? "bulk" : "standard";
  const double second = settings_.number("second_" + lane);
  if (second > 0) item.ensemble = std::uniform_real_distribution(0.0, 1.0)(random_) < second ? 1 : 0;
  item.deadline = now_ + settings_.ms(lane + "_ms") - settings_.us("front_us");
  ++tally_.offered[lane_index(item.lane)];
  if (!admit(item)) ++tally_.refused[lane_index(item.lane)];
}

void Simulation::answered(std::size_t ensemble) {
  const Flight flight = std::move(flights_[ensemble].front());
  flights_[ensemble].pop_front();
  for (const Item& item : flight.rows) {
    if (now_ > item.deadline) {
      ++tally_.late[lane_index(item.lane)];
    } else {
      ++tally_.in_time[lane_index(item.lane)];
      tally_.latencies.push_back(now_ - item.arrived + settings_.us("front_us"));
    }
  }
  done(ensemble, flight);
}

}  // namespace floodgate::simulator
