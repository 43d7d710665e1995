#include <string>

#include "floodgate/view.h"

namespace floodgate {
namespace {

Status check_side(const char* member, std::int32_t value) {
  if (value >= 1 && value <= kMaxViewSide) return {};
  return {Code::kInvalidArgument, std::string("view.") + member + " is " + std::to_string(value) +
                                      "; it must be between 1 and " + std::to_string(kMaxViewSide)};
}

Status check_crop(const char* member, std::int32_t crop, const char* side_member, std::int32_t side) {
  if (crop >= 0 && crop <= side) return {};
  return {Code::kInvalidArgument, std::string("view.") + member + " is " + std::to_string(crop) +
                                      "; it must be 0 (none) or at most view." + side_member + ", " +
                                      std::to_string(side)};
}

}  // namespace

Status validate(const ImageView& view) {
  if (Status status = check_side("width", view.width); !status.ok()) return status;
  if (Status status = check_side("height", view.height); !status.ok()) return status;
  if (Status status = check_crop("crop_width", view.crop_width, "width", view.width); !status.ok())
    return status;
  return check_crop("crop_height", view.crop_height, "height", view.height);
}

}  // namespace floodgate
