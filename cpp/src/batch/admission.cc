#include "floodgate/admission.h"

#include <algorithm>
#include <cmath>

namespace floodgate {
namespace {

// Less than this cannot be planned with: a lane without a floor would wait forever.
constexpr double kLeastShare = 0.01;

Nanos later(Nanos now, double ns) {
  return ns > static_cast<double>(kNever - now) ? kNever : now + static_cast<Nanos>(ns);
}

}  // namespace

void LaneUsage::served(Lane lane, double busy_ns, Nanos now) {
  const std::size_t i = lane_index(lane);
  used_[i] = share(lane, now) + busy_ns / kWindowNs;
  at_[i] = now;
}

double LaneUsage::share(Lane lane, Nanos now) const {
  const std::size_t i = lane_index(lane);
  if (used_[i] == 0) return 0;
  return used_[i] * std::exp(-static_cast<double>(now - at_[i]) / kWindowNs);
}

void Backlog::add(Lane lane, Nanos deadline_ns, std::uint64_t work, bool firm) {
  if (work == 0) return;
  Due& due = lanes_[lane_index(lane)][bucket(deadline_ns)];
  due.work += work;
  due.firm += firm ? work : 0;
  totals_[lane_index(lane)] += work;
}

void Backlog::remove(Lane lane, Nanos deadline_ns, std::uint64_t work, bool firm) {
  if (work == 0) return;
  auto& waiting = lanes_[lane_index(lane)];
  const auto found = waiting.find(bucket(deadline_ns));
  found->second.work -= work;
  found->second.firm -= firm ? work : 0;
  if (found->second.work == 0) waiting.erase(found);
  totals_[lane_index(lane)] -= work;
}

double Backlog::share(Lane lane, const LaneUsage& usage, const LaneFloors& floors, Nanos now) const {
  double left = 1;
  bool before = true;  // lanes that go first, then those that come after
  for (const Lane other : kLaneOrder) {
    const std::size_t i = lane_index(other);
    if (other == lane) {
      before = false;
    } else if (before) {
      left -= std::clamp(usage.share(other, now), totals_[i] > 0 ? floors[i] : 0, 1.0);
    } else if (totals_[i] > 0) {
      left -= floors[i];
    }
  }
  return std::max({left, floors[lane_index(lane)], kLeastShare});
}

Backlog::Outlook Backlog::look(Lane lane, Nanos deadline_ns, std::uint64_t work, double unit_ns, double share,
                               Nanos after_ns, Nanos now) const {
  const double pace = unit_ns / share;
  const auto done_at = [&](std::uint64_t units) {
    return later(now, static_cast<double>(units) * pace + static_cast<double>(after_ns));
  };
  const auto& waiting = lanes_[lane_index(lane)];
  const std::uint64_t all = totals_[lane_index(lane)] + work;
  // Most of the time there is room for everything.
  const Nanos last = done_at(all);
  if (last <= deadline_ns && (waiting.empty() || last <= waiting.begin()->first * kBucketNs))
    return {last, 0};

  Outlook outlook;
  std::uint64_t ahead = 0;
  const auto own = waiting.upper_bound(bucket(deadline_ns));
  for (auto each = waiting.begin(); each != own; ++each) ahead += each->second.work;
  outlook.finish_ns = done_at(ahead + work);
  outlook.late_ns = deadline_ns == kNever ? 0 : std::max<Nanos>(0, outlook.finish_ns - deadline_ns);
  for (auto each = own; each != waiting.end(); ++each) {
    const Nanos due = each->first > kNever / kBucketNs - 2 ? kNever : (each->first + 1) * kBucketNs;
    if (last <= due) break;  // nor can any after it miss
    ahead += each->second.work;
    const Nanos finish = done_at(ahead + work);
    // What would have missed anyhow is no reason.
    if (each->second.firm > 0 && finish > due && done_at(ahead) <= due)
      outlook.late_ns = std::max(outlook.late_ns, finish - due);
  }
  return outlook;
}

Backlog::Outlook look_at(std::span<const Stage> stages, Lane lane, Nanos deadline_ns,
                         const LaneFloors& floors, double guard, Nanos now) {
  Backlog::Outlook worst;
  bool idle = true;
  for (const Stage& stage : stages) {
    const Backlog& backlog = *stage.backlog;
    idle = idle && backlog.empty();
    const double share = stage.servers * backlog.share(lane, *stage.usage, floors, now) / guard;
    const auto outlook =
        backlog.look(lane, deadline_ns, stage.work, stage.unit_ns, share, stage.after_ns, now);
    worst.finish_ns = std::max(worst.finish_ns, outlook.finish_ns);
    worst.late_ns = std::max(worst.late_ns, outlook.late_ns);
  }
  if (idle) worst.late_ns = 0;
  return worst;
}

}  // namespace floodgate
