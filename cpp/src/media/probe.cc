#include <array>
#include <span>
#include <string>
#include <string_view>

#include "floodgate/media.h"
#include "header.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;

// Bytes at a fixed place that tell a format, and who reads its header. The first match counts.
struct Signature {
  std::size_t at;
  std::string_view bytes;
  Format format;
  Result<MediaInfo> (*read)(HeaderReader&);  // null: a video
};

constexpr std::array kSignatures = {
    Signature{0, "\x89PNG\r\n\x1A\n"sv, Format::kPng, read_png_header},
    Signature{8, "WEBP"sv, Format::kWebp, read_webp_header},
    Signature{0, "GIF87a"sv, Format::kGif, read_gif_header},
    Signature{0, "GIF89a"sv, Format::kGif, read_gif_header},
    Signature{8, "AVI "sv, Format::kAvi, nullptr},
    Signature{0, "\x1A\x45\xDF\xA3"sv, Format::kMatroska, nullptr},
    Signature{0, "FLV\1"sv, Format::kFlv, nullptr},
};

// Boxes that QuickTime files without a file type box begin with.
constexpr std::array kQuickTimeBoxes = {"moov"sv, "mdat"sv, "free"sv, "skip"sv, "wide"sv, "pnot"sv};

constexpr std::size_t kTransportPacketBytes = 188;

bool is_transport_stream(HeaderReader& reader) {
  // One byte is a weak signature: three packets in a row, plain or behind the 4-byte time codes of Blu-ray.
  const auto every = [&](std::size_t first, std::size_t step) {
    return reader.matches(first, "G"sv) && reader.matches(first + step, "G"sv) &&
           reader.matches(first + 2 * step, "G"sv);
  };
  return every(0, kTransportPacketBytes) || every(4, kTransportPacketBytes + 4);
}

// Two letters are a weak signature: the size of the second header must be one that bitmaps have.
bool is_bitmap(HeaderReader& reader) {
  if (!reader.matches(0, "BM"sv)) return false;
  const auto header_bytes = reader.le32(14);
  return header_bytes && *header_bytes >= 12 && *header_bytes <= 1024;
}

Result<MediaInfo> read_header(std::span<const std::uint8_t> data, const MediaLimits& limits) {
  HeaderReader reader(data);
  if (reader.matches(0, "\xFF\xD8\xFF"sv)) return read_jpeg_header(reader, limits);
  const bool riff = reader.matches(0, "RIFF"sv);
  for (const auto& [at, bytes, format, read] : kSignatures) {
    if (at == 8 && !riff) continue;
    if (reader.matches(at, bytes)) return read != nullptr ? read(reader) : read_video_header(reader, format);
  }
  if (riff && data.size() < 12) {
    return Status(Code::kInvalidContent, "the data is truncated: it ends inside its first bytes");
  }
  if (reader.matches(4, "ftyp"sv)) {
    // Sounds in the same container are none of the video reader's business.
    if (!reader.matches(8, "M4A "sv)) return read_isobmff_header(reader, limits);
    return describe_unsupported(data);
  }
  for (const std::string_view box : kQuickTimeBoxes) {
    if (reader.matches(4, box)) return read_video_header(reader, Format::kMp4);
  }
  if (is_transport_stream(reader)) return read_video_header(reader, Format::kMpegTs);
  if (is_bitmap(reader)) return read_bmp_header(reader);
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
    case Format::kGif:
      return "gif";
    case Format::kBmp:
      return "bmp";
    case Format::kAvif:
      return "avif";
    case Format::kHeic:
      return "heic";
    case Format::kMp4:
      return "mp4";
    case Format::kMatroska:
      return "matroska";
    case Format::kMpegTs:
      return "mpegts";
    case Format::kAvi:
      return "avi";
    case Format::kFlv:
      return "flv";
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

Status check_length(const MediaInfo& info, const MediaLimits& limits) {
  if (info.duration_ms > limits.max_duration_ms) {
    return {Code::kTooLarge, "the animation takes " + std::to_string(info.duration_ms) +
                                 " ms; the limit (max_duration_ms) is " +
                                 std::to_string(limits.max_duration_ms)};
  }
  if (info.frames > limits.max_animation_frames) {
    return {Code::kTooLarge, "the animation has " + std::to_string(info.frames) +
                                 " frames; the limit (max_animation_frames) is " +
                                 std::to_string(limits.max_animation_frames)};
  }
  return {};
}

Status check_picture(const MediaInfo& info, std::uint64_t bytes, const MediaLimits& limits) {
  if (bytes > limits.max_bytes) {
    return {Code::kTooLarge, "the data has " + std::to_string(bytes) + " bytes; the limit (max_bytes) is " +
                                 std::to_string(limits.max_bytes)};
  }
  if (Status status = check_size(info, limits); !status.ok()) return status;
  return check_length(info, limits);
}

Result<MediaInfo> probe(std::span<const std::uint8_t> data, const MediaLimits& limits) {
  if (data.empty()) return Status(Code::kInvalidContent, "the data is empty");
  auto header = read_header(data, limits);
  if (!header.ok()) return header;
  MediaInfo info = header.value();
  const Status status = is_video(info.format) ? check_video(info, data.size(), limits)
                                              : check_picture(info, data.size(), limits);
  if (!status.ok()) return status;
  info.decode_cost_ns = estimate_decode_cost(info, data.size());
  return info;
}

}  // namespace floodgate
