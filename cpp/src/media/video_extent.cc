#include "video_extent.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>

namespace floodgate {
namespace {

class Bytes {
 public:
  explicit Bytes(std::span<const std::uint8_t> data) : data_(data) {}
  [[nodiscard]] std::uint64_t size() const { return data_.size(); }
  [[nodiscard]] bool has(std::uint64_t at, std::uint64_t count) const {
    return at <= data_.size() && count <= data_.size() - at;
  }
  // REQUIRES: has(at, count), count <= 8.
  [[nodiscard]] std::uint64_t big(std::uint64_t at, std::uint32_t count) const {
    std::uint64_t value = 0;
    for (std::uint32_t i = 0; i < count; ++i) value = value << 8 | data_[at + i];
    return value;
  }
  // REQUIRES: has(at, 4).
  [[nodiscard]] std::uint64_t little32(std::uint64_t at) const {
    return data_[at] | std::uint64_t{data_[at + 1]} << 8 | std::uint64_t{data_[at + 2]} << 16 |
           std::uint64_t{data_[at + 3]} << 24;
  }
  [[nodiscard]] bool matches(std::uint64_t at, std::string_view text) const {
    return has(at, text.size()) && std::memcmp(data_.data() + at, text.data(), text.size()) == 0;
  }

 private:
  const std::span<const std::uint8_t> data_;
};

struct Range {
  std::uint64_t body = 0, end = 0;
};

// The first box `type` in `parent`; an empty range when there is none.
Range box_in(const Bytes& bytes, const Range& parent, std::string_view type) {
  std::uint64_t at = parent.body;
  while (at < parent.end && bytes.has(at, 8)) {
    const std::uint64_t size = bytes.big(at, 4);
    if (size < 8 || size > parent.end - at) return {};
    if (bytes.matches(at + 4, type)) return {at + 8, at + size};
    at += size;
  }
  return {};
}

// Whether composition offsets (ISO/IEC 14496-12, 8.6.1.3) of a video track lie farther apart than a few
// frames.
bool has_far_offsets(const Bytes& bytes, const Range& movie) {
  constexpr int kMaxTracks = 100;
  constexpr std::int64_t kFrames = 5;
  Range rest = movie;
  for (int number = 0; number < kMaxTracks; ++number) {
    const Range track = box_in(bytes, rest, "trak");
    if (track.end == 0) return false;
    rest.body = track.end;
    const Range media = box_in(bytes, track, "mdia");
    const Range handler = box_in(bytes, media, "hdlr");
    if (handler.end == 0 || !bytes.matches(handler.body + 8, "vide")) continue;
    const Range table = box_in(bytes, box_in(bytes, media, "minf"), "stbl");
    const Range offsets = box_in(bytes, table, "ctts");
    const Range steps = box_in(bytes, table, "stts");
    if (offsets.end < offsets.body + 8 || steps.end < steps.body + 8) continue;
    std::int64_t lowest = INT64_MAX, highest = INT64_MIN;
    for (std::uint64_t at = offsets.body + 8; at + 8 <= offsets.end; at += 8) {
      const std::int64_t offset = static_cast<std::int32_t>(bytes.big(at + 4, 4));
      lowest = std::min(lowest, offset);
      highest = std::max(highest, offset);
    }
    std::uint64_t samples = 0, duration = 0;
    for (std::uint64_t at = steps.body + 8; at + 8 <= steps.end; at += 8) {
      samples += bytes.big(at, 4);
      duration += bytes.big(at, 4) * bytes.big(at + 4, 4);
    }
    if (lowest > highest || samples == 0) continue;
    if (highest - lowest >
        kFrames * static_cast<std::int64_t>(std::min(duration / samples, std::uint64_t{1} << 40)))
      return true;
  }
  return false;
}

VideoExtent mp4_extent(const Bytes& bytes) {
  VideoExtent extent;
  extent.bytes = bytes.size();
  extent.has_index = false;
  std::uint64_t at = 0;
  bool awaits_media = false;  // a fragment's header came, and its media data has not
  while (bytes.has(at, 8)) {
    std::uint64_t size = bytes.big(at, 4);
    std::uint64_t header = 8;
    if (bytes.matches(at + 4, "moof")) awaits_media = true;
    if (bytes.matches(at + 4, "mdat")) awaits_media = false;
    if (size == 1) {
      if (!bytes.has(at, 16)) break;
      size = bytes.big(at + 8, 8);
      header = 16;
    }
    extent.fragmented = extent.fragmented || bytes.matches(at + 4, "moof");
    extent.has_index = extent.has_index || bytes.matches(at + 4, "moov");
    const std::uint64_t end = size == 0 || size > bytes.size() - at ? bytes.size() : at + size;
    if (bytes.matches(at + 4, "moov")) extent.far_offsets = has_far_offsets(bytes, {at + header, end});
    if (size == 0) return extent;  // to the end of the file
    if (size < header || size > bytes.size() - at) {
      extent.cut_short = true;
      // Of media data the beginning is of use.
      if (!bytes.matches(at + 4, "mdat")) extent.bytes = at;
      return extent;
    }
    at += size;
  }
  // Fragments that end within a box's header, or before their media data: nothing else tells that some lack.
  extent.cut_short = extent.fragmented && (awaits_media || at < bytes.size());
  return extent;
}

constexpr std::uint64_t kSegment = 0x18538067;
constexpr std::uint64_t kCluster = 0x1F43B675;

// The length in bytes that the first byte's leading zeros tell; more than 8: nonsense.
std::uint32_t ebml_length(std::uint64_t first) {
  std::uint32_t length = 1;
  while (length <= 8 && (first & (0x80U >> (length - 1))) == 0) ++length;
  return length;
}

constexpr std::uint64_t kInfo = 0x1549A966, kTimestampScale = 0x2AD7B1, kDuration = 0x4489, kTimestamp = 0xE7,
                        kSimpleBlock = 0xA3, kBlockGroup = 0xA0, kBlock = 0xA1;

// What Matroska says of its length, in its own ticks, and how far its blocks go.
struct MatroskaTimes {
  double scale_ns = 1'000'000;
  double declared = 0;  // 0: not at all
  double cluster = 0;
  double last = 0;

  void see(const Bytes& bytes, std::uint64_t id, std::uint64_t body, std::uint64_t size) {
    if (id == kTimestampScale && size >= 1 && size <= 8) {
      scale_ns = static_cast<double>(bytes.big(body, static_cast<std::uint32_t>(size)));
    } else if (id == kDuration && size == 4) {
      declared = std::bit_cast<float>(static_cast<std::uint32_t>(bytes.big(body, 4)));
    } else if (id == kDuration && size == 8) {
      declared = std::bit_cast<double>(bytes.big(body, 8));
    } else if (id == kTimestamp && size >= 1 && size <= 8) {
      cluster = static_cast<double>(bytes.big(body, static_cast<std::uint32_t>(size)));
    } else if ((id == kSimpleBlock || id == kBlock) && size >= 4) {
      const std::uint32_t track_bytes = ebml_length(bytes.big(body, 1));
      if (track_bytes > 8 || size < track_bytes + 2) return;
      last = std::max(last, cluster + static_cast<std::int16_t>(bytes.big(body + track_bytes, 2)));
    }
  }
  [[nodiscard]] bool falls_short() const {
    constexpr double kLeastNs = 5e9;
    const double missing = declared - last;
    return missing > declared / 10 && missing * scale_ns > kLeastNs;
  }
};

// Elements of EBML (RFC 8794, section 4) one after the other: at the top, and within the segment, its
// clusters and groups of blocks, which need not tell their sizes.
VideoExtent matroska_extent(const Bytes& bytes) {
  constexpr int kMaxElements = 16'000'000;
  VideoExtent extent;
  MatroskaTimes times;
  std::uint64_t at = 0;
  std::uint64_t segment_end = UINT64_MAX, cluster_end = UINT64_MAX;
  bool in_segment = false, clusters = false;
  for (int element = 0; element < kMaxElements && at < segment_end && bytes.has(at, 2); ++element) {
    if (at >= cluster_end) cluster_end = UINT64_MAX;
    const std::uint64_t limit = std::min({segment_end, cluster_end, bytes.size()});
    const std::uint32_t id_bytes = ebml_length(bytes.big(at, 1));
    if (!bytes.has(at, 12)) return extent;
    const std::uint32_t length = id_bytes <= 4 ? ebml_length(bytes.big(at + id_bytes, 1)) : 9;
    if (length > 8) {
      extent.missing = in_segment;
      return extent;
    }
    const std::uint64_t id = bytes.big(at, id_bytes);
    const std::uint64_t mask = (std::uint64_t{1} << (7 * length)) - 1;
    const std::uint64_t size = bytes.big(at + id_bytes, length) & mask;
    const std::uint64_t body = at + id_bytes + length;
    const bool entered = id == kSegment || id == kCluster || id == kBlockGroup || id == kInfo;
    if (size == mask) {
      if (id != kSegment && id != kCluster) {
        extent.missing = in_segment;
        return extent;
      }
      in_segment = true;
      clusters = clusters || id == kCluster;
      at = body;
      continue;
    }
    if (size > bytes.size() - body) {
      // A whole segment cannot hold what ends behind it.
      (segment_end <= bytes.size() ? extent.missing : extent.cut_short) = true;
      return extent;
    }
    if (in_segment && body + size > limit) {
      extent.missing = true;
      return extent;
    }
    if (id == kSegment) {
      in_segment = true;
      segment_end = body + size;
    } else if (id == kCluster) {
      clusters = true;
      cluster_end = body + size;
    } else if (!entered) {
      times.see(bytes, id, body, size);
    }
    at = entered ? body : body + size;
  }
  extent.missing = clusters && times.falls_short();
  return extent;
}

// What AVI declares of its first video stream, and how much of it there is.
struct AviFrames {
  int stream = -1;
  std::uint64_t declared = 0;
  std::uint64_t found = 0;
  bool broken = false;  // the walk ended at what is no chunk
};

// The chunks in [at, end): a RIFF of AVI holds lists of headers and of media data.
void walk_avi(const Bytes& bytes, std::uint64_t at, std::uint64_t end, bool media, int depth, int& streams,
              AviFrames& frames) {
  while (at < end && bytes.has(at, 8) && !frames.broken) {
    const auto is_letter = [&](std::uint64_t place) {
      const std::uint64_t c = bytes.big(place, 1);
      return c >= 0x20 && c <= 0x7E;
    };
    std::uint64_t size = bytes.little32(at + 4);
    if (media && !(is_letter(at) && is_letter(at + 1) && is_letter(at + 2) && is_letter(at + 3))) {
      frames.broken = true;
      return;
    }
    const bool list = bytes.matches(at, "LIST") || bytes.matches(at, "RIFF");
    // A recorder that was stopped leaves 0 as the size of its last list.
    if (list && bytes.has(at + 8, 4) && (size == 0 || size == UINT32_MAX)) size = end - at - 8;
    if (size > end - at - 8) {
      frames.broken = frames.broken || media;
      size = end - at - 8;
    }
    const std::uint64_t body = at + 8;
    if (list && size >= 4 && depth < 5) {
      const bool movie = media || bytes.matches(body, "movi");
      walk_avi(bytes, body + 4, body + size, movie, depth + 1, streams, frames);
    } else if (bytes.matches(at, "strh") && size >= 36) {
      if (frames.stream < 0 && bytes.matches(body, "vids")) {
        frames.stream = streams;
        frames.declared = bytes.little32(body + 32);
      }
      ++streams;
    } else if (media && frames.stream >= 0 && frames.stream < 100) {
      const std::string id = {static_cast<char>('0' + frames.stream / 10),
                              static_cast<char>('0' + frames.stream % 10), 'd'};
      if (bytes.matches(at, id)) ++frames.found;
    }
    at = body + size + size % 2;
  }
}

VideoExtent avi_extent(const Bytes& bytes) {
  VideoExtent extent;
  // A recorder that was stopped leaves 0 as the size: nothing is known then.
  const std::uint64_t size = bytes.has(4, 4) ? bytes.little32(4) : 0;
  extent.cut_short = size > 0 && size < UINT32_MAX && size + 8 > bytes.size();
  AviFrames frames;
  int streams = 0;
  walk_avi(bytes, 0, bytes.size(), false, 0, streams, frames);
  const std::uint64_t lacks = frames.declared > frames.found ? frames.declared - frames.found : 0;
  extent.missing = !extent.cut_short && frames.found > 0 &&
                   ((frames.broken && lacks > 0) || (lacks > 5 && lacks > frames.declared / 10));
  return extent;
}

VideoExtent flv_extent(const Bytes& bytes) {
  VideoExtent extent;
  if (!bytes.has(5, 4)) return extent;
  std::uint64_t at = bytes.big(5, 4) + 4;
  while (bytes.has(at, 11)) {
    const std::uint64_t tag = 11 + bytes.big(at + 1, 3);
    if (tag > bytes.size() - at) {
      extent.cut_short = true;
      return extent;
    }
    at += tag + 4;
  }
  extent.cut_short = at != bytes.size();
  return extent;
}

// Whether a packet is missing where none begins a new unit (ISO/IEC 13818-1, 2.4.3.3: the continuity
// counter).
bool is_torn(const Bytes& bytes, std::uint64_t packet) {
  constexpr std::uint8_t kUnseen = 0xFF;
  std::array<std::uint8_t, 8192> counters;
  counters.fill(kUnseen);
  for (std::uint64_t at = packet - 188; bytes.has(at, 188); at += packet) {
    const std::uint64_t header = bytes.big(at, 4);
    if (header >> 24 != 'G') return true;
    const auto stream = static_cast<std::size_t>(header >> 8 & 0x1FFF);
    const bool begins = (header & 0x400000) != 0;
    const bool has_payload = (header & 0x10) != 0;
    const auto counter = static_cast<std::uint8_t>(header & 0xF);
    std::uint8_t& last = counters[stream];
    const bool follows = last == kUnseen || counter == ((last + 1) & 0xF) || counter == last;
    if (has_payload && !begins && !follows && stream != 0x1FFF) return true;
    if (has_payload) last = counter;
  }
  return false;
}

VideoExtent ts_extent(const Bytes& bytes) {
  VideoExtent extent;
  const std::uint64_t packet = bytes.matches(0, "G") ? 188 : 192;
  extent.cut_short = bytes.size() % packet != 0;
  extent.torn = is_torn(bytes, packet);
  return extent;
}

}  // namespace

VideoExtent video_extent(std::span<const std::uint8_t> data, Format format) {
  const Bytes bytes(data);
  VideoExtent extent;
  switch (format) {
    case Format::kMp4:
      return mp4_extent(bytes);
    case Format::kMatroska:
      extent = matroska_extent(bytes);
      break;
    case Format::kAvi:
      extent = avi_extent(bytes);
      break;
    case Format::kFlv:
      extent = flv_extent(bytes);
      break;
    case Format::kMpegTs:
      extent = ts_extent(bytes);
      break;
    default:
      break;
  }
  extent.bytes = bytes.size();
  return extent;
}

}  // namespace floodgate
