// Service time as it is learned from answered batches.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "floodgate/batch_rule.h"

namespace floodgate {
namespace {

constexpr Nanos kMs = kMillisecond;

TEST(ServiceFit, FindsTheLineThroughNoise) {
  std::mt19937 random(3);
  ServiceFit fit;
  for (int i = 0; i < 400; ++i) {
    const std::uint32_t rows = 1 + random() % 16;
    const double noise = 0.95 + 0.1 * (random() % 1000) / 1000.0;
    fit.observe(rows, static_cast<Nanos>((4e6 + 1e6 * rows) * noise));
  }
  EXPECT_NEAR(fit.model().fixed_ns, 4e6, 0.8e6);
  EXPECT_NEAR(fit.model().per_row_ns, 1e6, 0.1e6);
}

TEST(ServiceFit, AnOutlierMovesItOnlyABitAndItForgets) {
  ServiceFit fit;
  for (int i = 0; i < 100; ++i) fit.observe(static_cast<std::uint32_t>(1 + i % 8), (2 + 1 + i % 8) * kMs);
  const Nanos before = fit.model().service_ns(4);
  fit.observe(4, 60 * kSecond);
  EXPECT_LT(fit.model().service_ns(4), 2 * before);
  for (int i = 0; i < 200; ++i) fit.observe(static_cast<std::uint32_t>(1 + i % 8), (2 + 1 + i % 8) * kMs);
  EXPECT_NEAR(static_cast<double>(fit.model().service_ns(4)), static_cast<double>(before), 0.02 * before);
}

TEST(ServiceFit, FollowsADeviceThatBecameSlower) {
  ServiceFit fit;
  for (int i = 0; i < 100; ++i) fit.observe(static_cast<std::uint32_t>(1 + i % 8), (1 + i % 8) * kMs);
  for (int i = 0; i < 200; ++i) fit.observe(static_cast<std::uint32_t>(1 + i % 8), 50 * (1 + i % 8) * kMs);
  EXPECT_NEAR(static_cast<double>(fit.model().service_ns(4)), 200e6, 20e6);
}

TEST(ServiceFit, SoonBelievesADeviceThatIsFastAgain) {
  ServiceFit fit;
  for (int i = 0; i < 100; ++i) fit.observe(static_cast<std::uint32_t>(1 + i % 2), 3 * kSecond);
  for (int i = 0; i < 8; ++i) fit.observe(1, 20 * kMs);
  EXPECT_LT(fit.model().service_ns(1), 200 * kMs);
}

TEST(ServiceFit, OneSizeScalesBothTermsAndNeverBreaks) {
  ServiceFit fit(ServiceModel{.fixed_ns = 2e6, .per_row_ns = 3e6});
  for (int i = 0; i < 100; ++i) fit.observe(6, 40 * kMs);
  EXPECT_NEAR(static_cast<double>(fit.model().service_ns(6)), 40e6, 1e6);
  EXPECT_NEAR(fit.model().fixed_ns / fit.model().per_row_ns, 2.0 / 3.0, 1e-6);
}

TEST(ServiceFit, TheGuardCoversWhatPredictionsMissAndComesDownAgain) {
  std::mt19937 random(9);
  const auto run = [&](ServiceFit& fit, double spread, int batches) {
    int kept = 0;
    for (int i = 0; i < batches; ++i) {
      const std::uint32_t rows = 1 + random() % 16;
      const double noise = 1 + spread * (static_cast<double>(random() % 2000) / 1000.0 - 1);
      const auto time = static_cast<Nanos>((4e6 + 1e6 * rows) * noise);
      kept += time <= fit.model().promise_ns(rows) ? 1 : 0;
      fit.observe(rows, time);
    }
    return static_cast<double>(kept) / batches;
  };
  ServiceFit fit;
  run(fit, 0.5, 500);
  EXPECT_GE(run(fit, 0.5, 2000), 0.92);
  EXPECT_GT(fit.model().guard, 1.2);
  run(fit, 0.01, 1000);
  EXPECT_LT(fit.model().guard, 1.15);
}

TEST(ServiceFit, TermsStayFiniteAndAtLeastZero) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    ServiceFit fit(ServiceModel{.fixed_ns = static_cast<double>(random() % 2), .per_row_ns = 0});
    for (int i = 0; i < 200; ++i) {
      fit.observe(static_cast<std::uint32_t>(random() % 20),
                  static_cast<Nanos>(random() % (1ULL << (random() % 40))) - 1);
      ASSERT_TRUE(std::isfinite(fit.model().fixed_ns) && std::isfinite(fit.model().per_row_ns));
      ASSERT_GE(fit.model().fixed_ns, 0);
      ASSERT_GE(fit.model().per_row_ns, 0);
    }
  }
}

}  // namespace
}  // namespace floodgate
