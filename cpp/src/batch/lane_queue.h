// Tickets waiting for a decode worker, by lane and deadline.
//
// Lanes share what they wait for as LaneShares says; within a lane the earliest deadline goes first. Tickets
// that want the same ensembles form a group, so that a full ensemble costs one look and not one per ticket.
// Thread rule: guarded by the scheduler's lock.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "floodgate/lane_shares.h"
#include "ticket.h"

namespace floodgate {

class LaneQueue {
 public:
  // A generation and which of its ensembles (bit i: ensemble i) the next row wants.
  using Group = std::pair<Generation*, std::uint32_t>;
  using HasRoom = std::function<bool(const Group&)>;
  // Whether the worker that asks may take this ticket; only a few at a time are another worker's.
  using MayTake = std::function<bool(const Ticket&)>;

  // What a ticket's next row costs, ns.
  using Cost = std::function<double(const Ticket&)>;

  explicit LaneQueue(const LaneFloors& floors) : shares_(floors) {}

  // REQUIRES: the ticket has a row that no worker has taken, and is not queued.
  void insert(const std::shared_ptr<Ticket>& ticket);
  // REQUIRES: queued, next_row unchanged since insert().
  void erase(const Ticket& ticket);
  // Takes the next ticket with room out of the queue; null when there is none. What is not given up is to be
  // charged, before the next one is taken.
  std::shared_ptr<Ticket> take(const HasRoom& has_room, const MayTake& may_take, const Cost& cost,
                               bool live_only);
  // `ticket` was taken and is served, at that cost.
  void charge(const Ticket& ticket, double cost);
  // The most urgent ticket with room of those that want `ensemble`, left in the queue; null when there is
  // none.
  [[nodiscard]] const Ticket* first_for(const Ensemble& ensemble, const HasRoom& has_room) const;

  // Rows that no worker has taken yet.
  [[nodiscard]] std::uint64_t rows(Lane lane) const { return rows_[lane_index(lane)]; }
  [[nodiscard]] std::uint64_t rows() const { return rows_[0] + rows_[1] + rows_[2]; }

 private:
  using Waiting = std::map<Ticket::Urgency, std::shared_ptr<Ticket>>;
  static Group group_of(const Ticket& ticket);

  std::array<std::map<Group, Waiting>, kLanes> lanes_;
  std::array<std::uint64_t, kLanes> rows_ = {};
  LaneShares shares_;
};

}  // namespace floodgate
