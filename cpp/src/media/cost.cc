#include "header.h"

namespace floodgate {
namespace {

// cost = kCallNs + byte_ns * encoded bytes + pixel_ns * pixels: CPU time on one core. The constants were
// fitted to one photo at 640x427, 1280x854 and 1920x1280 (JPEG quality 75 to 95, PNG level 6, WebP quality
// 80) on a Xeon with AVX-512, libjpeg-turbo 2.1.5, libspng 0.7.3, libwebp 1.2.4; they were within a third of
// what was measured. GIF, BMP, AVIF and HEIC (quality 60 and 90) were fitted to noise over slopes at 640x432
// and 1280x848, giflib 5.2.1, dav1d 1.0, libde265 1.0.11, to within a sixth; BMP is overestimated by half.
// Lossless WebP, which the header does not tell from lossy in an extended file, is overestimated up to
// threefold.
struct CostModel {
  double byte_ns;
  double pixel_ns;
};

constexpr Nanos kCallNs = 20'000;

CostModel cost_model(const MediaInfo& info) {
  switch (info.format) {
    case Format::kJpeg:
      return info.progressive ? CostModel{15.0, 8.0} : CostModel{8.0, 2.0};
    case Format::kPng:
      return {5.0, 18.0};
    case Format::kWebp:
      return {25.0, 7.0};
    case Format::kGif:
      return {8.0, 5.0};
    case Format::kBmp:
      return {0.0, 1.5};
    case Format::kAvif:
      return {70.0, 11.0};
    case Format::kHeic:
      return {94.0, 25.0};
    case Format::kMp4:
    case Format::kMatroska:
    case Format::kMpegTs:
    case Format::kAvi:
    case Format::kFlv:
      return {0.0, 6.0};
    default:
      break;
  }
  return {25.0, 18.0};
}

}  // namespace

Nanos estimate_decode_cost(const MediaInfo& info, std::uint64_t encoded_bytes) {
  const CostModel model = cost_model(info);
  const double pixels = static_cast<double>(info.width) * static_cast<double>(info.height);
  return kCallNs +
         static_cast<Nanos>(model.byte_ns * static_cast<double>(encoded_bytes) + model.pixel_ns * pixels);
}

}  // namespace floodgate
