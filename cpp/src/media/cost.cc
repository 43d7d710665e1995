#include "header.h"

namespace floodgate {
namespace {

// cost = kCallNs + byte * encoded bytes + pixel * pixels, CPU time on one core.
struct CostModel {
  double byte_ns;
  double pixel_ns;
};

constexpr Nanos kCallNs = 20'000;

CostModel cost_model(const MediaInfo& info) {
  switch (info.format) {
    case Format::kJpeg:
      return info.progressive ? CostModel{20.0, 10.0} : CostModel{8.0, 2.0};
    case Format::kPng:
      return {8.0, 4.0};
    case Format::kWebp:
      return {20.0, 6.0};
  }
  return {20.0, 10.0};
}

}  // namespace

Nanos estimate_decode_cost(const MediaInfo& info, std::uint64_t encoded_bytes) {
  const CostModel model = cost_model(info);
  const double pixels = static_cast<double>(info.width) * static_cast<double>(info.height);
  return kCallNs +
         static_cast<Nanos>(model.byte_ns * static_cast<double>(encoded_bytes) + model.pixel_ns * pixels);
}

}  // namespace floodgate
