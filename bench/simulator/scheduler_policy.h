// The scheduler's own pure rules: admission, lane shares, batch rule, service fit. Thread rule: one thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>

#include "floodgate/admission.h"
#include "floodgate/batch_rule.h"
#include "floodgate/lane_shares.h"
#include "simulation.h"

namespace floodgate::simulator {

class SchedulerPolicy final : public Simulation {
 public:
  explicit SchedulerPolicy(const Settings& settings);

 private:
  using Waiting = std::multimap<Nanos, Item>;  // by deadline

  struct Ensemble {
    Backlog backlog;
    ServiceFit fit;
    double typical_rows = 1;
    std::array<Waiting, kLanes> waiting;
    Waiting ready;
    std::size_t coming = 0;  // being decoded
    Nanos oldest_ready = kNever;
    Nanos last_answer = 0;
  };

  bool admit(const Item& item) override;
  void decoded(const Item& item) override;
  void done(std::size_t ensemble, const Flight& flight) override;
  void step() override;

  void drop(const Item& item);
  void take();
  [[nodiscard]] Item* first(std::size_t lane);
  // Whether a batch has been unanswered for so long that its buffer is in quarantine.
  [[nodiscard]] bool stands_still() const;
  void observe(const Item& item, bool missed, bool standing);
  [[nodiscard]] double row_ns(const Ensemble& ensemble) const;
  [[nodiscard]] Nanos device_free(std::size_t ensemble) const;
  [[nodiscard]] LaneUsage& usage(std::size_t ensemble) { return usages_[distinct_devices_ ? ensemble : 0]; }

  const LaneFloors floors_;
  LaneShares shares_;
  const std::uint32_t capacity_;
  const std::uint64_t decode_ns_;
  const bool distinct_devices_;  // as it was told
  std::array<Ensemble, kEnsembles> ensembles_;
  Backlog decode_backlog_;
  LaneUsage decode_usage_;
  std::array<LaneUsage, kEnsembles> usages_;  // by device
  LaneGuards guards_;
};

}  // namespace floodgate::simulator
