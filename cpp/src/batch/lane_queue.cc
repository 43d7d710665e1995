#include "lane_queue.h"

#include <algorithm>

#include "ensemble.h"

namespace floodgate {

LaneQueue::Group LaneQueue::group_of(const Ticket& ticket) {
  std::uint32_t wanted = 0;
  const TicketRow& row = ticket.rows[ticket.next_row];
  for (std::size_t i = 0; i < ticket.ensembles.size(); ++i) {
    if (row.cells[i].state != CellState::kUnwanted && row.cells[i].state != CellState::kAnswered) {
      wanted |= 1U << ticket.ensembles[i]->index;
    }
  }
  return {ticket.generation, wanted};
}

void LaneQueue::insert(const std::shared_ptr<Ticket>& ticket) {
  const std::size_t lane = lane_index(ticket->lane);
  lanes_[lane][group_of(*ticket)].emplace(ticket->urgency(), ticket);
  rows_[lane] += ticket->rows.size() - ticket->next_row;
  ticket->queued = true;
}

void LaneQueue::erase(const Ticket& ticket) {
  const std::size_t lane = lane_index(ticket.lane);
  const auto group = lanes_[lane].find(group_of(ticket));
  const auto waiting = group->second.find(ticket.urgency());
  waiting->second->queued = false;
  rows_[lane] -= ticket.rows.size() - ticket.next_row;
  group->second.erase(waiting);
  if (group->second.empty()) lanes_[lane].erase(group);
}

std::shared_ptr<Ticket> LaneQueue::take(const HasRoom& has_room, const MayTake& may_take, const Cost& cost,
                                        bool live_only) {
  std::array<std::shared_ptr<Ticket>, kLanes> firsts;
  LaneShares::Costs costs;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    if (live_only && lane != lane_index(Lane::kLive)) continue;
    std::shared_ptr<Ticket>& first = firsts[lane];
    for (const auto& [group, tickets] : lanes_[lane]) {
      const auto open =
          std::ranges::find_if(tickets, [&](const auto& each) { return may_take(*each.second); });
      if (open == tickets.end()) continue;
      const auto& ticket = open->second;
      if (first != nullptr && first->urgency() < ticket->urgency()) continue;
      if (has_room(group)) first = ticket;
    }
    if (first != nullptr) costs[lane] = cost(*first);
  }
  const auto lane = shares_.next(costs);
  if (!lane) return nullptr;
  const std::size_t chosen = lane_index(*lane);
  erase(*firsts[chosen]);
  return firsts[chosen];
}

void LaneQueue::charge(const Ticket& ticket, double cost) {
  std::array<bool, kLanes> waiting = {};
  for (std::size_t lane = 0; lane < kLanes; ++lane) waiting[lane] = !lanes_[lane].empty();
  waiting[lane_index(ticket.lane)] = true;
  shares_.charge(ticket.lane, cost, waiting);
}

const Ticket* LaneQueue::first_for(const Ensemble& ensemble, const HasRoom& has_room) const {
  const Ticket* best = nullptr;
  for (const auto& lane : lanes_) {
    for (const auto& [group, waiting] : lane) {
      if (group.first != ensemble.generation || (group.second >> ensemble.index & 1U) == 0) continue;
      const Ticket* ticket = waiting.begin()->second.get();
      if (best != nullptr && best->urgency() < ticket->urgency()) continue;
      if (has_room(group)) best = ticket;
    }
  }
  return best;
}

}  // namespace floodgate
