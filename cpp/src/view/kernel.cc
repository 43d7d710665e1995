#include "kernel.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace floodgate {
namespace {

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

// Half-width of the filter at scale 1, input px.
double filter_support(Filter filter) {
  switch (filter) {
    case Filter::kBox:
      return 0.5;
    case Filter::kBilinear:
    case Filter::kHamming:
      return 1.0;
    case Filter::kBicubic:
      return 2.0;
    case Filter::kLanczos:
      return 3.0;
  }
  return 1.0;
}

// Value at `x` input px from the centre.
double filter_value(Filter filter, double x) {
  switch (filter) {
    case Filter::kBox:
      return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    case Filter::kBilinear:
      x = std::abs(x);
      return x < 1.0 ? 1.0 - x : 0.0;
    case Filter::kHamming: {
      x = std::abs(x);
      if (x == 0.0) return 1.0;
      if (x >= 1.0) return 0.0;
      x *= std::numbers::pi;
      // Pillow writes the window's constants in single precision; the difference reaches the last bit.
      return std::sin(x) / x * (0.54F + 0.46F * std::cos(x));
    }
    case Filter::kBicubic: {
      constexpr double a = -0.5;  // Keys, 1981
      x = std::abs(x);
      if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
      if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
      return 0.0;
    }
    case Filter::kLanczos:
      return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
  }
  return 0.0;
}

std::int32_t to_fixed(double weight) {
  const double scaled = weight * (1 << kPrecisionBits);
  return static_cast<std::int32_t>(weight < 0 ? -0.5 + scaled : 0.5 + scaled);
}

// Half a pixel added, then cut towards zero as Pillow's C cast cuts it: not lround, which differs below zero.
std::int32_t half_up(double position) {
  position += 0.5;
  return static_cast<std::int32_t>(position);
}

}  // namespace

Kernel::Kernel(std::int32_t in, std::int32_t out, std::int32_t from, std::int32_t length, Filter filter) {
  const double scale = static_cast<double>(in) / out;
  const double filter_scale = std::max(scale, 1.0);  // enlarging interpolates, shrinking averages
  const double support = filter_support(filter) * filter_scale;
  const double inverse_scale = 1.0 / filter_scale;

  taps_.reserve(static_cast<std::size_t>(length));
  starts_.reserve(static_cast<std::size_t>(length));
  // No more than the range has room for, whatever the support.
  weights_.reserve(static_cast<std::size_t>(length) *
                   static_cast<std::size_t>(std::min(2.0 * support + 2.0, static_cast<double>(in))));
  std::vector<double> exact;
  for (std::int32_t i = 0; i < length; ++i) {
    const double center = (from + i + 0.5) * scale;
    const std::int32_t first = std::max(0, half_up(center - support));
    const std::int32_t end = std::min(in, half_up(center + support));
    const std::int32_t count = std::max(0, end - first);
    exact.resize(static_cast<std::size_t>(count));
    double sum = 0.0;
    for (std::int32_t x = 0; x < count; ++x) {
      const double weight = filter_value(filter, (x + first - center + 0.5) * inverse_scale);
      exact[static_cast<std::size_t>(x)] = weight;
      sum += weight;
    }
    taps_.push_back({first, count});
    starts_.push_back(weights_.size());
    for (const double weight : exact) weights_.push_back(to_fixed(sum != 0.0 ? weight / sum : weight));
    max_count_ = std::max(max_count_, count);
  }
}

Kernel Kernel::copy(std::int32_t from, std::int32_t length) {
  Kernel kernel;
  for (std::int32_t i = 0; i < length; ++i) {
    kernel.taps_.push_back({from + i, 1});
    kernel.starts_.push_back(static_cast<std::size_t>(i));
  }
  kernel.weights_.assign(static_cast<std::size_t>(length), 1 << kPrecisionBits);
  kernel.max_count_ = 1;
  return kernel;
}

void Kernel::mirror(std::int32_t in) {
  for (std::size_t i = 0; i < taps_.size(); ++i) {
    taps_[i].first = in - taps_[i].first - taps_[i].count;
    const auto begin = weights_.begin() + static_cast<std::ptrdiff_t>(starts_[i]);
    std::reverse(begin, begin + taps_[i].count);
  }
}

void Kernel::reverse() {
  std::reverse(taps_.begin(), taps_.end());
  std::reverse(starts_.begin(), starts_.end());
}

}  // namespace floodgate
