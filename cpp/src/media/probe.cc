#include <span>
#include <string>
#include <string_view>

#include "floodgate/media.h"
#include "header.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;

Result<MediaInfo> read_header(std::span<const std::uint8_t> data) {
  HeaderReader reader(data);
  if (reader.matches(0, "\xFF\xD8\xFF"sv)) return read_jpeg_header(reader);
  if (reader.matches(0, "\x89PNG\r\n\x1A\n"sv)) return read_png_header(reader);
  if (reader.matches(0, "RIFF"sv)) {
    if (reader.matches(8, "WEBP"sv)) return read_webp_header(reader);
    if (data.size() < 12)
      return Status(Code::kInvalidContent, "the data is truncated: it ends inside its first bytes");
  }
  return describe_unsupported(data);
}

}  // namespace

const char* format_name(Format format) {
  switch (format) {
    case Format::kJpeg:
      return "jpeg";
    case Format::kPng:
      return "png";
    case Format::kWebp:
      return "webp";
  }
  return "unknown";
}

Status check_size(const MediaInfo& info, const MediaLimits& limits) {
  if (info.width == 0 || info.height == 0) {
    return {Code::kInvalidContent, "the picture's header says that it has no pixels (" +
                                       std::to_string(info.width) + " x " + std::to_string(info.height) +
                                       ")"};
  }
  const std::uint32_t longest = info.width > info.height ? info.width : info.height;
  if (longest > limits.max_side_px) {
    return {Code::kTooLarge, "the picture's longest side is " + std::to_string(longest) +
                                 " px; the limit (max_side_px) is " + std::to_string(limits.max_side_px)};
  }
  const std::uint64_t pixels = std::uint64_t{info.width} * info.height;
  if (pixels > limits.max_pixels) {
    return {Code::kTooLarge, "the picture has " + std::to_string(pixels) +
                                 " pixels; the limit (max_pixels) is " + std::to_string(limits.max_pixels)};
  }
  return {};
}

Result<MediaInfo> probe(std::span<const std::uint8_t> data, const MediaLimits& limits) {
  if (data.empty()) return Status(Code::kInvalidContent, "the data is empty");
  if (data.size() > limits.max_bytes) {
    return Status(Code::kTooLarge, "the data has " + std::to_string(data.size()) +
                                       " bytes; the limit (max_bytes) is " +
                                       std::to_string(limits.max_bytes));
  }
  auto header = read_header(data);
  if (!header.ok()) return header;
  MediaInfo info = header.value();
  if (Status status = check_size(info, limits); !status.ok()) return status;
  info.decode_cost_ns = estimate_decode_cost(info, data.size());
  return info;
}

}  // namespace floodgate
