// What a simulation is told: words and numbers by name. Thread rule: values.
#pragma once

#include <map>
#include <string>

#include "floodgate/clock.h"
#include "floodgate/lane_shares.h"

namespace floodgate::simulator {

struct Settings {
  std::map<std::string, std::string> words = {{"policy", "floodgate"}, {"arrivals", "poisson"}};
  std::map<std::string, double> numbers = {{"rate", 1000},
                                           {"seconds", 10},
                                           {"seed", 1},
                                           {"a_ms", 4},
                                           {"b_ms", 1},
                                           {"noise", 0.05},
                                           {"batch", 32},
                                           {"credit", 2},
                                           {"workers", 4},
                                           {"decode_us", 100},
                                           {"window_ms", 5},
                                           {"live", 0},
                                           {"standard", 1},
                                           {"bulk", 0},
                                           {"live_ms", 200},
                                           {"standard_ms", 300},
                                           {"bulk_ms", 5000},
                                           {"front_us", 300},
                                           {"handover_us", 1000},
                                           {"floor_live", kDefaultFloors[1]},
                                           {"floor_standard", kDefaultFloors[0]},
                                           {"floor_bulk", kDefaultFloors[2]},
                                           {"devices", 1},
                                           {"declared_devices", 0},
                                           {"second_live", 0},
                                           {"second_standard", 0},
                                           {"second_bulk", 0},
                                           {"stall_at_s", 0},
                                           {"stall_ms", 0}};

  [[nodiscard]] double number(const std::string& key) const { return numbers.at(key); }
  [[nodiscard]] Nanos ms(const std::string& key) const { return static_cast<Nanos>(number(key) * 1e6); }
  [[nodiscard]] Nanos us(const std::string& key) const { return static_cast<Nanos>(number(key) * 1e3); }
};

// Reads key=value arguments. False, with a sentence on stderr, when one of them cannot be meant.
bool read(int count, char** arguments, Settings& settings);

}  // namespace floodgate::simulator
