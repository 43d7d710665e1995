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
  // A lane that had nothing to do has saved up no claim on the others' time.
  if (lanes_[lane].empty()) pass_[lane] = std::max(pass_[lane], now_);
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

std::shared_ptr<Ticket> LaneQueue::take(const HasRoom& has_room, bool live_only) {
  std::shared_ptr<Ticket> best;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    if (live_only && lane != lane_index(Lane::kLive)) continue;
    if (best != nullptr && pass_[lane_index(best->lane)] <= pass_[lane]) continue;
    std::shared_ptr<Ticket> first;
    for (const auto& [group, waiting] : lanes_[lane]) {
      const auto& ticket = waiting.begin()->second;
      if (first != nullptr && first->urgency() < ticket->urgency()) continue;
      if (has_room(group)) first = ticket;
    }
    if (first != nullptr) best = std::move(first);
  }
  if (best == nullptr) return nullptr;
  const std::size_t lane = lane_index(best->lane);
  erase(*best);
  now_ = pass_[lane];
  pass_[lane] += 1.0 / weights_[lane];
  return best;
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
