// Items and when they come. Thread rule: values.
#pragma once

#include <cmath>
#include <random>
#include <string>

#include "floodgate/clock.h"
#include "floodgate/lane.h"
#include "settings.h"

namespace floodgate::simulator {

inline constexpr std::size_t kEnsembles = 2;

struct Item {
  Lane lane = Lane::kStandard;
  std::size_t ensemble = 0;
  Nanos arrived = 0;
  Nanos deadline = 0;
};

// Arrival times by thinning: candidates at the highest rate, kept as often as the rate of their moment asks.
class Arrivals {
 public:
  Arrivals(const Settings& settings, std::mt19937_64& random)
      : kind_(settings.words.at("arrivals")), rate_(settings.number("rate")), random_(random) {}

  Nanos next() {
    do {
      time_s_ += std::exponential_distribution(kPeak * rate_)(random_);
    } while (std::uniform_real_distribution(0.0, kPeak)(random_) > shape(time_s_));
    return static_cast<Nanos>(time_s_ * 1e9);
  }

 private:
  static constexpr double kPeak = 4.0;

  // Relative to the mean rate, whose average over a period is 1.
  [[nodiscard]] double shape(double time_s) const {
    if (kind_ == "bursty") return std::fmod(time_s, 1.0) < 0.2 ? 4.0 : 0.25;
    if (kind_ == "diurnal") return 1 - 0.8 * std::cos(2 * 3.141592653589793 * time_s / 10);
    return 1;
  }

  const std::string kind_;
  const double rate_;
  std::mt19937_64& random_;
  double time_s_ = 0;
};

}  // namespace floodgate::simulator
