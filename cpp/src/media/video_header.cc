#include "video_header.h"

#include <bit>
#include <string>
#include <string_view>

namespace floodgate {
namespace {

using namespace std::string_view_literals;

// AMF 0's markers of values (Action Message Format, section 2.1), and how many bytes follow those of fixed
// size.
enum AmfMarker : std::uint8_t {
  kAmfNumber = 0,
  kAmfBoolean = 1,
  kAmfString = 2,
  kAmfNull = 5,
  kAmfDate = 11
};

std::optional<double> amf_number(HeaderReader& reader, std::size_t at) {
  const auto high = reader.be32(at);
  const auto low = reader.be32(at + 4);
  if (!high || !low) return std::nullopt;
  return std::bit_cast<double>(std::uint64_t{*high} << 32 | *low);
}

// Bytes of the value at `at`, marker included; nothing for nested ones.
std::optional<std::size_t> amf_size(HeaderReader& reader, std::size_t at) {
  const auto marker = reader.u8(at);
  if (!marker) return std::nullopt;
  switch (*marker) {
    case kAmfNumber:
      return 9;
    case kAmfBoolean:
      return 2;
    case kAmfNull:
      return 1;
    case kAmfDate:
      return 11;
    case kAmfString: {
      const auto length = reader.be16(at + 1);
      return length ? std::optional<std::size_t>(3 + *length) : std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

std::uint32_t side_of(double value) {
  return value >= 1 && value <= 1e6 ? static_cast<std::uint32_t>(value) : 0;
}

}  // namespace

// AVIMAINHEADER (Microsoft's AVI RIFF File Reference), the first chunk of the header list.
Result<MediaInfo> read_avi_header(HeaderReader& reader) {
  MediaInfo info = video_info(Format::kAvi);
  if (!reader.matches(12, "LIST"sv) || !reader.matches(20, "hdrl"sv) || !reader.matches(24, "avih"sv))
    return info;
  const auto frame_us = reader.le32(32);
  const auto frames = reader.le32(48);
  const auto width = reader.le32(64);
  const auto height = reader.le32(68);
  if (!frame_us || !frames || !width || !height) return reader.failure("AVI");
  info.duration_ms = saturated_ms(static_cast<double>(*frame_us) * *frames / 1000);
  if (*width > 0 && *height > 0) {
    info.width = *width;
    info.height = *height;
  }
  return info;
}

// The script tag "onMetaData" (Adobe Flash Video File Format Specification, E.5), when it comes first.
Result<MediaInfo> read_flv_header(HeaderReader& reader) {
  MediaInfo info = video_info(Format::kFlv);
  const auto header = reader.be32(5);
  if (!header) return reader.failure("FLV");
  const std::size_t tag = std::size_t{*header} + 4;
  constexpr std::uint32_t kScript = 18;
  if (reader.u8(tag) != kScript || !reader.matches(tag + 11, "\x02\x00\x0AonMetaData\x08"sv)) return info;
  std::size_t at = tag + 11 + 14 + 4;  // after the array's marker and its count
  while (const auto length = reader.be16(at)) {
    const std::size_t value = at + 2 + *length;
    if (reader.u8(value) == kAmfNumber) {
      const double number = amf_number(reader, value + 1).value_or(0);
      if (reader.matches(at,
                         "\x00\x08"
                         "duration"sv))
        info.duration_ms = saturated_ms(number * 1000);
      if (reader.matches(at, "\x00\x05width"sv)) info.width = side_of(number);
      if (reader.matches(at, "\x00\x06height"sv)) info.height = side_of(number);
    }
    const auto size = amf_size(reader, value);
    if (!size) break;
    at = value + *size;
  }
  if (info.width == 0 || info.height == 0) info.width = info.height = 0;
  return info;
}

Result<MediaInfo> read_video_header(HeaderReader& reader, Format format) {
  switch (format) {
    case Format::kMp4:
      return read_mp4_header(reader);
    case Format::kMatroska:
      return read_matroska_header(reader);
    case Format::kAvi:
      return read_avi_header(reader);
    case Format::kFlv:
      return read_flv_header(reader);
    default:
      return video_info(format);
  }
}

Status check_video(const MediaInfo& info, std::uint64_t bytes, const MediaLimits& limits) {
  if (bytes > limits.max_video_bytes) {
    return {Code::kTooLarge, "the video has " + std::to_string(bytes) +
                                 " bytes; the limit (max_video_bytes) is " +
                                 std::to_string(limits.max_video_bytes)};
  }
  const std::uint32_t longest = std::max(info.width, info.height);
  if (longest > limits.max_side_px) {
    return {Code::kTooLarge, "the video's longest side is " + std::to_string(longest) +
                                 " px; the limit (max_side_px) is " + std::to_string(limits.max_side_px)};
  }
  const std::uint64_t pixels = std::uint64_t{info.width} * info.height;
  if (pixels > limits.max_pixels) {
    return {Code::kTooLarge, "the video's frames have " + std::to_string(pixels) +
                                 " pixels; the limit (max_pixels) is " + std::to_string(limits.max_pixels)};
  }
  if (info.duration_ms > limits.max_duration_ms) {
    return {Code::kTooLarge, "the video lasts " + std::to_string(info.duration_ms) +
                                 " ms; the limit (max_duration_ms) is " +
                                 std::to_string(limits.max_duration_ms)};
  }
  return {};
}

}  // namespace floodgate
