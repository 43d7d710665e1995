#include "tone_map.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace floodgate {
namespace {

constexpr double kWhiteNits = 203;  // ITU-R BT.2408, section 2.1
constexpr double kHlgNits = 1000;
constexpr double kHlgGamma = 1.2;  // at 1000 cd/m²; ITU-R BT.2100, table 5

constexpr std::size_t kSampleSteps = 4096;
constexpr std::size_t kCodeSteps = 16384;
// Luminance 2^-24 to 2 in 256 steps an octave.
constexpr std::uint32_t kGainShift = 15;
constexpr std::uint32_t kGainFirst = (127U - 24U) << 8;
constexpr std::uint32_t kGainCount = 25U << 8;

// SMPTE ST 2084: light from 0 to 10 000 cd/m².
constexpr double kM1 = 2610.0 / 16384, kM2 = 2523.0 / 4096 * 128;
constexpr double kC1 = 3424.0 / 4096, kC2 = 2413.0 / 4096 * 32, kC3 = 2392.0 / 4096 * 32;

double pq_to_nits(double code) {
  const double power = std::pow(code, 1 / kM2);
  return 10'000 * std::pow(std::max(power - kC1, 0.0) / (kC2 - kC3 * power), 1 / kM1);
}

double nits_to_pq(double nits) {
  const double power = std::pow(nits / 10'000, kM1);
  return std::pow((kC1 + kC2 * power) / (1 + kC3 * power), kM2);
}

// ITU-R BT.2100, table 5: the inverse of HLG's opto-electronic transfer.
double hlg_to_scene(double code) {
  constexpr double kA = 0.17883277, kB = 1 - 4 * kA;
  static const double c = 0.5 - kA * std::log(4 * kA);
  return code <= 0.5 ? code * code / 3 : (std::exp((code - c) / kA) + kB) / 12;
}

// ITU-R BT.2390, section 5.4.1: identity below a knee, then a Hermite spline, both in PQ.
double toned_nits(double nits, double peak_nits) {
  const double peak = nits_to_pq(peak_nits);
  const double white = nits_to_pq(kWhiteNits) / peak;
  const double knee = 1.5 * white - 0.5;
  const double at = std::min(1.0, nits_to_pq(nits) / peak);
  if (white >= 1 || at < knee) return std::min(nits, kWhiteNits);
  const double t = (at - knee) / (1 - knee);
  const double t2 = t * t, t3 = t2 * t;
  const double to =
      (2 * t3 - 3 * t2 + 1) * knee + (t3 - 2 * t2 + t) * (1 - knee) + (-2 * t3 + 3 * t2) * white;
  return pq_to_nits(to * peak);
}

// IEC 61966-2-1.
double srgb_code(double light) {
  return light <= 0.0031308 ? 12.92 * light : 1.055 * std::pow(light, 1 / 2.4) - 0.055;
}

double usable_peak(HdrTransfer transfer, double nits) {
  if (transfer == HdrTransfer::kHlg || !(nits >= 1 && nits <= 10'000)) return kHlgNits;
  return std::max(nits, kWhiteNits);
}

}  // namespace

ToneMap::ToneMap(HdrTransfer transfer, double peak_nits, bool wide_gamut)
    : transfer_(transfer),
      peak_nits_(usable_peak(transfer, peak_nits)),
      wide_gamut_(wide_gamut),
      linear_(kSampleSteps),
      gains_(kGainCount),
      coded_(kCodeSteps + 1) {
  for (std::size_t i = 0; i < kSampleSteps; ++i) {
    const double code = static_cast<double>(i) / (kSampleSteps - 1);
    linear_[i] = static_cast<float>(
        transfer == HdrTransfer::kPq ? std::min(1.0, pq_to_nits(code) / peak_nits_) : hlg_to_scene(code));
  }
  for (std::uint32_t i = 0; i < kGainCount; ++i) {
    const double light = std::bit_cast<float>(((kGainFirst + i) << kGainShift) + (1U << (kGainShift - 1)));
    // HLG tells scene light; what is shown depends on its luminance.
    const double nits =
        transfer == HdrTransfer::kPq ? light * peak_nits_ : kHlgNits * std::pow(light, kHlgGamma);
    gains_[i] = static_cast<float>(toned_nits(nits, peak_nits_) / kWhiteNits / light);
  }
  for (std::size_t i = 0; i <= kCodeSteps; ++i) {
    coded_[i] = static_cast<std::uint8_t>(
        std::lround(255 * srgb_code(static_cast<double>(i) / static_cast<double>(kCodeSteps))));
  }
}

bool ToneMap::serves(HdrTransfer transfer, double peak_nits, bool wide_gamut) const {
  return transfer == transfer_ && usable_peak(transfer, peak_nits) == peak_nits_ && wide_gamut == wide_gamut_;
}

float ToneMap::gain(float luminance) const {
  const std::uint32_t step = std::bit_cast<std::uint32_t>(luminance) >> kGainShift;
  return gains_[std::clamp(step, kGainFirst, kGainFirst + kGainCount - 1) - kGainFirst];
}

void ToneMap::map(const std::uint16_t* rgb48, std::uint8_t* rgb, std::size_t pixels) const {
  const auto code = [&](float light) {
    return coded_[static_cast<std::size_t>(std::clamp(light, 0.0F, 1.0F) * kCodeSteps)];
  };
  for (std::size_t i = 0; i < pixels; ++i) {
    float r = linear_[rgb48[3 * i] >> 4];
    float g = linear_[rgb48[3 * i + 1] >> 4];
    float b = linear_[rgb48[3 * i + 2] >> 4];
    // ITU-R BT.2020, table 4; ITU-R BT.2407, section 2.2.
    const float by = gain(0.2627F * r + 0.6780F * g + 0.0593F * b);
    r *= by;
    g *= by;
    b *= by;
    if (wide_gamut_) {
      rgb[3 * i] = code(1.6605F * r - 0.5876F * g - 0.0728F * b);
      rgb[3 * i + 1] = code(-0.1246F * r + 1.1329F * g - 0.0083F * b);
      rgb[3 * i + 2] = code(-0.0182F * r - 0.1006F * g + 1.1187F * b);
    } else {
      rgb[3 * i] = code(r);
      rgb[3 * i + 1] = code(g);
      rgb[3 * i + 2] = code(b);
    }
  }
}

}  // namespace floodgate
