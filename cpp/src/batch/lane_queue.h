// Tickets waiting for a decode worker, by lane and deadline.
//
// Lanes share the workers by weight (stride scheduling: Waldspurger and Weihl, 1995), so that none starves;
// within a lane the earliest deadline goes first. Tickets that want the same ensembles form a group, so that
// a full ensemble costs one look and not one per ticket. Thread rule: guarded by the scheduler's lock.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "ticket.h"

namespace floodgate {

class LaneQueue {
 public:
  // A generation and which of its ensembles (bit i: ensemble i) the next row wants.
  using Group = std::pair<Generation*, std::uint32_t>;
  using HasRoom = std::function<bool(const Group&)>;

  // REQUIRES: every weight >= 1.
  explicit LaneQueue(const std::array<std::uint32_t, kLanes>& weights) : weights_(weights) {}

  // REQUIRES: the ticket has a row that no worker has taken, and is not queued.
  void insert(const std::shared_ptr<Ticket>& ticket);
  // REQUIRES: queued, next_row unchanged since insert().
  void erase(const Ticket& ticket);
  // Takes the most urgent ticket with room out of the queue; null when there is none.
  std::shared_ptr<Ticket> take(const HasRoom& has_room, bool live_only);
  // The most urgent ticket with room of those that want `ensemble`, left in the queue; null when there is
  // none.
  [[nodiscard]] const Ticket* first_for(const Ensemble& ensemble, const HasRoom& has_room) const;

  // Rows that no worker has taken yet.
  [[nodiscard]] std::uint64_t rows(Lane lane) const { return rows_[lane_index(lane)]; }
  [[nodiscard]] std::uint64_t rows() const { return rows_[0] + rows_[1] + rows_[2]; }

 private:
  using Waiting = std::map<Ticket::Urgency, std::shared_ptr<Ticket>>;
  static Group group_of(const Ticket& ticket);

  const std::array<std::uint32_t, kLanes> weights_;
  std::array<std::map<Group, Waiting>, kLanes> lanes_;
  std::array<std::uint64_t, kLanes> rows_ = {};
  std::array<double, kLanes> pass_ = {};  // what a lane has used, over its weight
  double now_ = 0;                        // the pass of the lane served last
};

}  // namespace floodgate
