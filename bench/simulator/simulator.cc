// A discrete-event simulation of the scheduler: its own pure rules (admission, lane shares, batch rule,
// service fit) under synthetic arrivals, beside a batcher of fixed windows as commonly built.
//
//   simulator key=value ...        prints one line of JSON
//
// policy floodgate | window;  arrivals poisson | bursty | diurnal;  rate items/s;  seconds;  seed;
// a_ms, b_ms: a device serves n rows in a + b n ms, give or take noise (share of it);  batch rows;  credit;
// workers, decode_us: decode of one item on one worker;  window_ms: of the fixed-window batcher;
// live, standard, bulk: shares of the arrivals;  live_ms, standard_ms, bulk_ms: their deadlines;
// front_us: time that an item spends on its way to the scheduler; handover_us: a batch on its way to the
// device;  floor_live, floor_standard, floor_bulk;
// second_live, second_standard, second_bulk: share of a lane's items that want a second ensemble;
// devices 1 | 2: whether the two ensembles share one;  declared_devices: how many the scheduler is told of;
// stall_at_s, stall_ms: the devices begin nothing meanwhile.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>

#include "fixed_window.h"
#include "scheduler_policy.h"
#include "settings.h"
#include "simulation.h"

namespace floodgate::simulator {
namespace {

template <typename T>
std::string lanes(const std::array<T, kLanes>& values) {
  std::string text = "{";
  for (const Lane lane : kLaneOrder) {
    constexpr std::array kNames = {"STANDARD", "LIVE", "BULK"};
    text += (text.size() > 1 ? ", \"" : "\"") + std::string(kNames[lane_index(lane)]) +
            "\": " + std::to_string(values[lane_index(lane)]);
  }
  return text + "}";
}

void report(const Settings& settings, Tally tally) {
  std::ranges::sort(tally.latencies);
  const auto quantile = [&](double q) {
    if (tally.latencies.empty()) return 0.0;
    const auto at = static_cast<std::size_t>(q * static_cast<double>(tally.latencies.size() - 1));
    return static_cast<double>(tally.latencies[at]) / 1e6;
  };
  const double seconds = settings.number("seconds");
  std::printf(
      "{\"offered\": %s, \"refused\": %s, \"in_time\": %s, \"late\": %s, \"dropped\": %s, \"guards\": %s, "
      "\"rows_a_batch\": %.2f, \"device_busy\": %.4f, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n",
      lanes(tally.offered).c_str(), lanes(tally.refused).c_str(), lanes(tally.in_time).c_str(),
      lanes(tally.late).c_str(), lanes(tally.dropped).c_str(), lanes(tally.guards).c_str(),
      tally.batches > 0 ? static_cast<double>(tally.rows) / static_cast<double>(tally.batches) : 0.0,
      tally.busy_ns / 1e9 / seconds, quantile(0.5), quantile(0.99));
}

}  // namespace
}  // namespace floodgate::simulator

int main(int count, char** arguments) {
  using namespace floodgate::simulator;
  Settings settings;
  if (!read(count, arguments, settings)) return 2;
  std::unique_ptr<Simulation> simulation;
  if (settings.words["policy"] == "window") {
    simulation = std::make_unique<FixedWindow>(settings);
  } else {
    simulation = std::make_unique<SchedulerPolicy>(settings);
  }
  report(settings, simulation->run());
  return 0;
}
