// The world that a policy is tried in: arrivals, decode workers, ensembles and the devices they run on, and a
// clock that jumps from one event to the next.
//
// A policy says what is admitted, what is decoded next and what goes in a batch. Thread rule: one thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <queue>
#include <random>
#include <vector>

#include "arrivals.h"
#include "floodgate/lane.h"
#include "settings.h"

namespace floodgate::simulator {

struct Tally {
  using Counts = std::array<std::uint64_t, kLanes>;
  Counts offered = {};
  Counts refused = {};
  Counts in_time = {};
  Counts late = {};
  Counts dropped = {};
  std::array<double, kLanes> guards = {1, 1, 1};  // at the end; see LaneGuards
  std::uint64_t batches = 0;
  std::uint64_t rows = 0;
  double busy_ns = 0;
  std::vector<Nanos> latencies;
};

class Simulation {
 public:
  explicit Simulation(const Settings& settings)
      : settings_(settings), random_(static_cast<std::uint64_t>(settings.number("seed"))) {}
  virtual ~Simulation() = default;
  Simulation(const Simulation&) = delete;
  Simulation& operator=(const Simulation&) = delete;

  Tally run();

 protected:
  struct Flight {
    std::vector<Item> rows;
    Nanos sent = 0;
  };

  virtual bool admit(const Item& item) = 0;
  virtual void decoded(const Item& item) = 0;
  // A batch of one ensemble was answered.
  virtual void done(std::size_t ensemble, const Flight& flight) = 0;
  virtual void step() = 0;

  void decode(const Item& item);
  void wake(Nanos time);
  // To the ensemble's device, which serves one batch after another.
  void send(std::size_t ensemble, std::vector<Item> rows);
  [[nodiscard]] const std::deque<Flight>& flights(std::size_t ensemble) const { return flights_[ensemble]; }
  [[nodiscard]] bool worker_is_free() const { return decoding_ < settings_.number("workers"); }
  [[nodiscard]] Nanos now() const { return now_; }
  [[nodiscard]] const Settings& settings() const { return settings_; }
  [[nodiscard]] Tally& tally() { return tally_; }

 private:
  struct Event {
    enum Kind { kDecoded, kAnswered, kWake };
    Nanos time = 0;
    Kind kind = kWake;
    Item item;  // kAnswered: of its ensemble
    bool operator>(const Event& other) const { return time > other.time; }
  };

  void arrive();
  void answered(std::size_t ensemble);

  const Settings& settings_;
  std::mt19937_64 random_;
  Nanos now_ = 0;
  Tally tally_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::array<std::deque<Flight>, kEnsembles> flights_;
  std::array<Nanos, kEnsembles> device_free_ = {};
  int decoding_ = 0;
  Nanos wake_ = kNever;  // the next one that was asked for
};

}  // namespace floodgate::simulator
