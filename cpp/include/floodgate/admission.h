// Whether a new piece of work can be done in time, given what waits: pure functions of what is queued, how
// fast it is served, and the time.
//
// A Backlog is what waits for one resource (the decode workers, a device), by lane and deadline. Within a
// lane the earliest deadline goes first, so new work must fit behind what is due before it, and what is due
// after it must still fit behind the new work: a promise once made is not broken for a later one. Across
// lanes it counts on the share that is its lane's for sure, or that the more urgent lanes have left over
// lately. Thread rule: values; nothing here reads a clock.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>

#include "floodgate/clock.h"
#include "floodgate/guard.h"
#include "floodgate/lane.h"
#include "floodgate/lane_shares.h"

namespace floodgate {

// How much of a resource's time each lane has used lately: an exponential average over kWindowNs.
class LaneUsage {
 public:
  static constexpr double kWindowNs = 5e8;

  // `busy_ns`: of the resource's own time; a resource of several workers is busy for a part of it.
  void served(Lane lane, double busy_ns, Nanos now);
  [[nodiscard]] double share(Lane lane, Nanos now) const;

 private:
  std::array<double, kLanes> used_ = {};
  std::array<Nanos, kLanes> at_ = {};
};

// For how much longer than predicted a lane's work takes, but for one in two hundred: other lanes'
// work comes in bursts, and much else is not in the model.
class LaneGuards {
 public:
  // `standing`: the inference server stands still, which says nothing about what waits: nothing is learnt.
  void observe(Lane lane, bool missed, bool standing) {
    if (!standing) guards_[lane_index(lane)].observe(missed);
  }
  [[nodiscard]] double factor(Lane lane) const { return guards_[lane_index(lane)].factor(); }

  static constexpr double kMost = 2.0;  // it falls slowly, so what a standstill taught must not bind for long

 private:
  static constexpr double kKept = 0.995;
  static constexpr double kStep = 0.02;
  std::array<Guard, kLanes> guards_ = {Guard(kKept, kStep, kMost), Guard(kKept, kStep, kMost),
                                       Guard(kKept, kStep, kMost)};
};

class Backlog {
 public:
  // What a new piece of work would meet.
  struct Outlook {
    Nanos finish_ns = 0;  // when it would be through, at its lane's share
    Nanos late_ns = 0;    // by how much a deadline would be missed, its own or a later one's; 0: none would
  };

  // `work`: in the caller's unit; the same amount is taken out in the end. `firm`: a part of it is better
  // than nothing only when it is not.
  void add(Lane lane, Nanos deadline_ns, std::uint64_t work, bool firm = true);
  void remove(Lane lane, Nanos deadline_ns, std::uint64_t work, bool firm = true);
  [[nodiscard]] std::uint64_t total(Lane lane) const { return totals_[lane_index(lane)]; }
  [[nodiscard]] std::uint64_t total() const { return totals_[0] + totals_[1] + totals_[2]; }
  [[nodiscard]] bool empty() const { return total() == 0; }

  // The share of the resource's time that work of `lane` can count on.
  [[nodiscard]] double share(Lane lane, const LaneUsage& usage, const LaneFloors& floors, Nanos now) const;

  // `unit_ns`: time of one unit of work, the resource being all its own; `after_ns`: from its turn to its
  // answer, whatever is queued; `share`: see share().
  [[nodiscard]] Outlook look(Lane lane, Nanos deadline_ns, std::uint64_t work, double unit_ns, double share,
                             Nanos after_ns, Nanos now) const;

 private:
  // Deadlines are told apart to so much.
  static constexpr Nanos kBucketNs = 8 * kMillisecond;
  static Nanos bucket(Nanos deadline_ns) { return deadline_ns / kBucketNs; }

  struct Due {
    std::uint64_t work = 0;
    std::uint64_t firm = 0;  // of it
  };

  std::array<std::map<Nanos, Due>, kLanes> lanes_;
  std::array<std::uint64_t, kLanes> totals_ = {};
};

// One resource that new work needs.
struct Stage {
  const Backlog* backlog = nullptr;
  const LaneUsage* usage = nullptr;
  std::uint64_t work = 0;  // new work, in the backlog's unit
  double unit_ns = 0;      // time of one unit
  Nanos after_ns = 0;      // from its last turn here to its answer, whatever is queued
  double servers = 1;      // that serve it side by side
};

// What new work meets where it would be latest. `guard`: on the time that it waits for what is queued. Never
// late where nothing waits at all: an idle server takes whatever comes, for how else would it learn that its
// predictions are too dark?
Backlog::Outlook look_at(std::span<const Stage> stages, Lane lane, Nanos deadline_ns,
                         const LaneFloors& floors, double guard, Nanos now);

}  // namespace floodgate
