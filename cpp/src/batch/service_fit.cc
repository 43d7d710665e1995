#include <algorithm>

#include "floodgate/batch_rule.h"

namespace floodgate {

void ServiceFit::forget(double kept) {
  weight_ *= kept;
  rows_ *= kept;
  time_ *= kept;
  rows_rows_ *= kept;
  rows_time_ *= kept;
}

void ServiceFit::observe(std::uint32_t rows, Nanos service_ns) {
  if (rows == 0 || service_ns < 0) return;
  const double n = rows;
  auto time = static_cast<double>(service_ns);
  const double predicted = model_.fixed_ns + model_.per_row_ns * n;
  if (seen_ >= kTrusted && predicted > 0) {
    guard_.observe(time > predicted * model_.guard);
    model_.guard = guard_.factor();
    time = std::min(time, kClip * predicted);
    if (time * kClip < predicted) forget(kSurprised);
  }
  ++seen_;

  forget(kForget);
  weight_ += 1;
  rows_ += n;
  time_ += time;
  rows_rows_ += n * n;
  rows_time_ += n * time;

  const double mean_rows = rows_ / weight_;
  const double mean_time = time_ / weight_;
  const double variance = rows_rows_ / weight_ - mean_rows * mean_rows;
  const double covariance = rows_time_ / weight_ - mean_rows * mean_time;
  constexpr double kTellApart =
      0.05;  // of the mean, squared: less spread than this says nothing about the slope
  if (variance <= kTellApart * kTellApart * mean_rows * mean_rows || seen_ < 3) {
    const double at_mean = model_.fixed_ns + model_.per_row_ns * mean_rows;
    if (at_mean <= 0) {
      model_ = {mean_time, 0, model_.guard};
      return;
    }
    const double scale = mean_time / at_mean;
    model_ = {model_.fixed_ns * scale, model_.per_row_ns * scale, model_.guard};
    return;
  }
  model_.per_row_ns = std::max(0.0, covariance / variance);
  model_.fixed_ns = mean_time - model_.per_row_ns * mean_rows;
  if (model_.fixed_ns < 0) {
    // Through the origin: the least-squares slope with no intercept.
    model_.fixed_ns = 0;
    model_.per_row_ns = rows_time_ / rows_rows_;
  }
}

}  // namespace floodgate
