// MP4 and its relatives (ISO/IEC 14496-12, QuickTime File Format): the size of the picture and the duration
// from the movie box, wherever in the file it is.
#include <algorithm>
#include <string>
#include <string_view>

#include "video_header.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;

// Edits of nothing that are looked at: one is usual.
constexpr std::uint32_t kMaxEmptyEdits = 16;

struct Box {
  std::size_t body = 0;
  std::size_t end = 0;
  std::size_t at = 0;  // of its size
};

// The box at `at`, within `limit`; nothing when none begins there. A box that is cut short ends at `limit`.
std::optional<Box> box_at(HeaderReader& reader, std::size_t at, std::size_t limit) {
  if (at > limit || limit - at < 8) return std::nullopt;
  const auto size = reader.be32(at);
  if (!size) return std::nullopt;
  Box box{at + 8, limit, at};
  std::uint64_t bytes = *size;
  if (bytes == 1) {
    const auto high = reader.be32(at + 8);
    const auto low = reader.be32(at + 12);
    if (!high || !low) return std::nullopt;
    bytes = std::uint64_t{*high} << 32 | *low;
    box.body = at + 16;
  } else if (bytes == 0) {
    return box;  // to the end
  }
  if (bytes < box.body - at) return std::nullopt;
  if (bytes < limit - at) box.end = at + static_cast<std::size_t>(bytes);
  return box.body <= box.end ? std::optional(box) : std::nullopt;
}

// The first box `type` among those in [at, end).
std::optional<Box> find_box(HeaderReader& reader, std::size_t at, std::size_t end, std::string_view type) {
  while (const auto box = box_at(reader, at, end)) {
    if (reader.matches(at + 4, type)) return box;
    at = box->end;
  }
  return std::nullopt;
}

// Units a second of a movie or media header; 0: unknown.
std::uint32_t header_scale(HeaderReader& reader, const Box& box) {
  return reader.be32(box.body + (reader.u8(box.body) == 1 ? 20 : 12)).value_or(0);
}

// Milliseconds of a movie or media header: version 0 has 32-bit times, version 1 64-bit ones.
std::uint32_t header_duration_ms(HeaderReader& reader, const Box& box) {
  const auto version = reader.u8(box.body);
  if (!version) return 0;
  const std::size_t times = box.body + 4 + (*version == 1 ? 16 : 8);
  const auto scale = reader.be32(times);
  const auto high = *version == 1 ? reader.be32(times + 4) : std::optional<std::uint32_t>(0);
  const auto low = reader.be32(times + (*version == 1 ? 8 : 4));
  if (!scale || !high || !low || *scale == 0) return 0;
  const std::uint64_t duration = std::uint64_t{*high} << 32 | *low;
  const bool unknown = *version == 1 ? duration == UINT64_MAX : duration == UINT32_MAX;
  return unknown ? 0 : saturated_ms(static_cast<double>(duration) * 1000 / *scale);
}

// Milliseconds of nothing that a track's edit list (8.6.6) begins with, in the movie's time scale.
double empty_start_ms(HeaderReader& reader, const Box& track, std::uint32_t scale) {
  const auto edits = find_box(reader, track.body, track.end, "edts"sv);
  if (!edits || scale == 0) return 0;
  const auto list = find_box(reader, edits->body, edits->end, "elst"sv);
  if (!list) return 0;
  const auto version = reader.u8(list->body);
  const auto count = reader.be32(list->body + 4);
  if (!version || !count) return 0;
  const std::size_t wide = *version == 1 ? 8 : 4;
  double empty = 0;
  std::size_t at = list->body + 8;
  for (std::uint32_t i = 0; i < std::min(*count, kMaxEmptyEdits) && at < list->end; ++i) {
    const auto high = wide == 8 ? reader.be32(at) : std::optional<std::uint32_t>(0);
    const auto low = reader.be32(at + wide - 4);
    const auto media_time = reader.be32(at + wide);
    if (!high || !low || !media_time || *media_time != UINT32_MAX) break;
    empty += static_cast<double>(std::uint64_t{*high} << 32 | *low);
    at += 2 * wide + 4;
  }
  return empty * 1000 / scale;
}

// The picture of a track when it is the largest video track so far. False: it is not.
bool read_track(HeaderReader& reader, const Box& track, MediaInfo& info) {
  const auto media = find_box(reader, track.body, track.end, "mdia"sv);
  if (!media) return false;
  const auto handler = find_box(reader, media->body, media->end, "hdlr"sv);
  if (!handler || !reader.matches(handler->body + 8, "vide"sv)) return false;
  const auto information = find_box(reader, media->body, media->end, "minf"sv);
  if (!information) return false;
  const auto table = find_box(reader, information->body, information->end, "stbl"sv);
  if (!table) return false;
  const auto descriptions = find_box(reader, table->body, table->end, "stsd"sv);
  if (!descriptions) return false;
  // Version and count, then the first visual sample entry: its box header, 24 bytes, then both sides.
  const auto width = reader.be16(descriptions->body + 8 + 32);
  const auto height = reader.be16(descriptions->body + 8 + 34);
  if (!width || !height) return false;
  if (std::uint64_t{*width} * *height <= std::uint64_t{info.width} * info.height) return false;
  info.width = *width;
  info.height = *height;
  return true;
}

}  // namespace

Result<MediaInfo> read_mp4_header(HeaderReader& reader) {
  MediaInfo info = video_info(Format::kMp4);
  const auto movie = find_box(reader, 0, reader.size(), "moov"sv);
  if (!movie) {
    if (reader.exhausted()) return reader.failure("MP4");
    return Status(Code::kInvalidContent,
                  "the MP4 data has no movie box, which says how to read it: it is cut short or damaged");
  }
  std::size_t at = movie->body;
  int tracks = 0;
  std::uint32_t scale = 0;
  double starts_ms = 0;
  while (const auto box = box_at(reader, at, movie->end)) {
    if (reader.matches(at + 4, "mvhd"sv)) {
      info.duration_ms = std::max(info.duration_ms, header_duration_ms(reader, *box));
      scale = header_scale(reader, *box);
    } else if (reader.matches(at + 4, "trak"sv)) {
      if (++tracks > kMaxStreams) {
        return Status(Code::kTooLarge,
                      "the MP4 data has more tracks than the limit, " + std::to_string(kMaxStreams));
      }
      if (read_track(reader, *box, info)) starts_ms = empty_start_ms(reader, *box, scale);
    }
    at = box->end;
  }
  // Times are counted from the first frame.
  info.duration_ms -= std::min(info.duration_ms, saturated_ms(starts_ms));
  return info;
}

}  // namespace floodgate
