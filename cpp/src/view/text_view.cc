#include <string>

#include "floodgate/view.h"

namespace floodgate {
namespace {

constexpr std::int32_t kMaxBucketBytes = 1 << 20;  // one row of text; longer text is split into rows

}  // namespace

Status validate(const TextView& view) {
  if (view.buckets.empty()) {
    return {Code::kInvalidArgument, "view.buckets is empty; it must name at least one row length in bytes"};
  }
  std::int32_t previous = 0;
  for (const std::int32_t bucket : view.buckets) {
    if (bucket < 1 || bucket > kMaxBucketBytes) {
      return {Code::kInvalidArgument, "view.buckets has " + std::to_string(bucket) +
                                          "; a row length must be between 1 and " +
                                          std::to_string(kMaxBucketBytes) + " bytes"};
    }
    if (bucket <= previous) {
      return {Code::kInvalidArgument, "view.buckets must ascend, but " + std::to_string(bucket) +
                                          " follows " + std::to_string(previous)};
    }
    previous = bucket;
  }
  return {};
}

}  // namespace floodgate
