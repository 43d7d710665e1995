// A factor on predictions that makes a chosen share of them hold.
//
// Follows the quantile of measured over predicted by stochastic approximation (Robbins and Monro, 1951): it
// rises at once when a prediction is missed and falls slowly while they hold. Thread rule: a value.
#pragma once

#include <algorithm>
#include <cmath>

namespace floodgate {

class Guard {
 public:
  // `kept`: the share of predictions that are to hold; `step`: how far one observation moves the factor's
  // logarithm; `most`: the factor's limit. The least is 1.
  Guard(double kept, double step, double most) : kept_(kept), step_(step), most_log_(std::log(most)) {}

  void observe(bool missed) {
    log_ = std::clamp(log_ + step_ * (missed ? kept_ : kept_ - 1), 0.0, most_log_);
  }
  [[nodiscard]] double factor() const { return std::exp(log_); }

 private:
  double kept_;
  double step_;
  double most_log_;
  double log_ = 0;
};

}  // namespace floodgate
