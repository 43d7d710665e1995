// Matroska and WebM (RFC 9559): the size of the picture and the duration from Info and Tracks.
#include <bit>
#include <cmath>

#include "video_header.h"

namespace floodgate {
namespace {

struct Element {
  std::uint32_t id = 0;
  std::size_t body = 0;
  std::size_t end = 0;
};

constexpr std::uint32_t kSegment = 0x18538067, kInfo = 0x1549A966, kTracks = 0x1654AE6B,
                        kCluster = 0x1F43B675;
constexpr std::uint32_t kTimestampScale = 0x2AD7B1, kDuration = 0x4489;
constexpr std::uint32_t kTimestamp = 0xE7, kCrc32 = 0xBF;
constexpr std::uint32_t kTrackEntry = 0xAE, kVideo = 0xE0, kPixelWidth = 0xB0, kPixelHeight = 0xBA;

// An unsigned big-endian number of up to eight bytes.
std::optional<std::uint64_t> wide_number(HeaderReader& reader, std::size_t at, std::size_t bytes) {
  if (bytes > 8) return std::nullopt;
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    const auto byte = reader.u8(at + i);
    if (!byte) return std::nullopt;
    value = value << 8 | *byte;
  }
  return value;
}

// The element at `at`, within `limit`. One that is cut short, or of unknown size, ends at `limit`.
std::optional<Element> element_at(HeaderReader& reader, std::size_t at, std::size_t limit) {
  if (at >= limit) return std::nullopt;
  const auto first = reader.u8(at);
  if (!first || *first < 0x10) return std::nullopt;
  const auto id_bytes = static_cast<std::size_t>(std::countl_zero(static_cast<std::uint8_t>(*first))) + 1;
  const auto id = wide_number(reader, at, id_bytes);
  const auto size_first = reader.u8(at + id_bytes);
  if (!id || !size_first || *size_first == 0) return std::nullopt;
  const auto size_bytes =
      static_cast<std::size_t>(std::countl_zero(static_cast<std::uint8_t>(*size_first))) + 1;
  const auto raw = wide_number(reader, at + id_bytes, size_bytes);
  if (!raw) return std::nullopt;
  const std::uint64_t mask = (std::uint64_t{1} << (7 * size_bytes)) - 1;
  const std::uint64_t size = *raw & mask;
  Element element{static_cast<std::uint32_t>(*id), at + id_bytes + size_bytes, limit};
  if (element.body > limit) return std::nullopt;
  if (size != mask && size < limit - element.body)
    element.end = element.body + static_cast<std::size_t>(size);
  return element;
}

// Calls visit(child) for each child until it says no.
template <typename Visit>
void each_child(HeaderReader& reader, const Element& parent, const Visit& visit) {
  std::size_t at = parent.body;
  while (const auto child = element_at(reader, at, parent.end)) {
    if (!visit(*child)) return;
    at = child->end;
  }
}

std::optional<double> decimal(HeaderReader& reader, const Element& element) {
  const std::size_t bytes = element.end - element.body;
  const auto raw = wide_number(reader, element.body, bytes);
  if (!raw) return std::nullopt;
  if (bytes == 4) return std::bit_cast<float>(static_cast<std::uint32_t>(*raw));
  if (bytes == 8) return std::bit_cast<double>(*raw);
  return std::nullopt;
}

void read_info(HeaderReader& reader, const Element& information, MediaInfo& info, double& scale_ns) {
  double duration = 0;
  each_child(reader, information, [&](const Element& child) {
    if (child.id == kTimestampScale) {
      if (const auto scale = wide_number(reader, child.body, child.end - child.body)) {
        scale_ns = static_cast<double>(*scale);
      }
    } else if (child.id == kDuration) {
      duration = decimal(reader, child).value_or(0);
    }
    return true;
  });
  info.duration_ms = saturated_ms(duration * scale_ns / 1e6);
}

// In the segment's ticks; 0: not told.
double cluster_time(HeaderReader& reader, const Element& cluster) {
  double time = 0;
  each_child(reader, cluster, [&](const Element& child) {
    if (child.id != kTimestamp) return child.id == kCrc32;
    time = static_cast<double>(wide_number(reader, child.body, child.end - child.body).value_or(0));
    return false;
  });
  return time;
}

void read_tracks(HeaderReader& reader, const Element& tracks, MediaInfo& info) {
  each_child(reader, tracks, [&](const Element& track) {
    if (track.id != kTrackEntry) return true;
    each_child(reader, track, [&](const Element& entry) {
      if (entry.id != kVideo) return true;
      std::uint64_t width = 0;
      std::uint64_t height = 0;
      each_child(reader, entry, [&](const Element& child) {
        if (child.id == kPixelWidth)
          width = wide_number(reader, child.body, child.end - child.body).value_or(0);
        if (child.id == kPixelHeight)
          height = wide_number(reader, child.body, child.end - child.body).value_or(0);
        return true;
      });
      width = std::min<std::uint64_t>(width, UINT32_MAX);
      height = std::min<std::uint64_t>(height, UINT32_MAX);
      if (width * height > std::uint64_t{info.width} * info.height) {
        info.width = static_cast<std::uint32_t>(width);
        info.height = static_cast<std::uint32_t>(height);
      }
      return true;
    });
    return true;
  });
}

}  // namespace

Result<MediaInfo> read_matroska_header(HeaderReader& reader) {
  MediaInfo info = video_info(Format::kMatroska);
  bool have_segment = false;
  double scale_ns = 1'000'000;
  double starts_ms = 0;
  each_child(reader, {0, 0, reader.size()}, [&](const Element& top) {
    if (top.id != kSegment) return true;
    have_segment = true;
    each_child(reader, top, [&](const Element& child) {
      if (child.id == kInfo) read_info(reader, child, info, scale_ns);
      if (child.id == kTracks) read_tracks(reader, child, info);
      if (child.id == kCluster) starts_ms = cluster_time(reader, child) * scale_ns / 1e6;
      return child.id != kCluster;
    });
    return false;
  });
  if (!have_segment) return reader.failure("Matroska");
  // Times are counted from the first frame.
  info.duration_ms -= std::min(info.duration_ms, saturated_ms(starts_ms));
  return info;
}

}  // namespace floodgate
