// AVIF and HEIC: ISO/IEC 23008-12 (HEIF) over the ISO base media format. Brands tell pictures from videos;
// the primary item's properties tell its size, depth and how it is turned; a sequence's first track tells its
// frames.
#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "header.h"
#include "heif_references.h"
#include "hevc_header.h"
#include "isobmff.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;

constexpr std::array kAvifBrands = {"avif"sv, "avis"sv};
constexpr std::array kHeicBrands = {"heic"sv, "heix"sv, "heim"sv, "heis"sv, "hevc"sv, "hevx"sv, "hevm"sv};
constexpr std::array kGeneralBrands = {"mif1"sv, "mif2"sv, "msf1"sv, "miaf"sv};
constexpr std::size_t kMaxBrands = 64;

enum class Content : std::uint8_t { kAvif, kHeic, kOtherHeif, kVideo };

template <std::size_t N>
bool among(const std::array<std::string_view, N>& brands, std::string_view brand) {
  return std::ranges::find(brands, brand) != brands.end();
}

// What the file type box says: the major brand, or where that is a general one the first
// compatible brand that names a codec.
Content content_of(HeaderReader& reader, const Box& ftyp, std::string_view major) {
  if (among(kAvifBrands, major)) return Content::kAvif;
  if (among(kHeicBrands, major)) return Content::kHeic;
  if (!among(kGeneralBrands, major)) return Content::kVideo;
  const std::size_t count = std::min((ftyp.end - ftyp.begin) / 4, kMaxBrands);
  for (std::size_t i = 2; i < count; ++i) {
    const auto brand = reader.text(ftyp.begin + 4 * i, 4);
    if (!brand) break;
    if (among(kAvifBrands, *brand)) return Content::kAvif;
    if (among(kHeicBrands, *brand)) return Content::kHeic;
  }
  return Content::kOtherHeif;
}

// What the properties of the primary item come to.
struct Item {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::uint32_t bits = 0;
  std::uint32_t channels = 0;
  std::uint32_t quarter_turns = 0;  // anticlockwise
  int mirror = -1;                  // 0: top and bottom change places, 1: left and right; -1: neither
  std::uint32_t shown_width = 0;    // after clap, irot and imir in their order
  std::uint32_t shown_height = 0;
  // Where irot and imir, in their order, take a point's coordinates (to the right, down): x' = a x + b y,
  // y' = c x + d y.
  struct {
    int a = 1, b = 0, c = 0, d = 1;
  } turn;
};

std::uint32_t rounded_quotient(std::uint32_t numerator, std::uint32_t denominator) {
  if (denominator == 0) return 0;
  const std::uint64_t quotient = (std::uint64_t{numerator} + denominator / 2) / denominator;
  return static_cast<std::uint32_t>(quotient);
}

void apply_property(HeaderReader& reader, const Box& property, Item& item) {
  switch (property.type) {
    case box_type("ispe"):
      item.width = item.shown_width = reader.be32(property.begin + 4).value_or(0);
      item.height = item.shown_height = reader.be32(property.begin + 8).value_or(0);
      break;
    case box_type("pixi"):
      item.channels = reader.u8(property.begin + 4).value_or(0);
      item.bits = reader.u8(property.begin + 5).value_or(0);
      break;
    case box_type("hvcC"):
      if (item.bits == 0) item.bits = 8 + (reader.u8(property.begin + 17).value_or(0) & 7);
      break;
    case box_type("av1C"):
      if (item.bits == 0) {
        const std::uint32_t flags = reader.u8(property.begin + 2).value_or(0);
        item.bits = (flags & 0x40) == 0 ? 8 : (flags & 0x20) == 0 ? 10 : 12;
      }
      break;
    case box_type("clap"): {
      const auto width = reader.be32(property.begin);
      const auto width_parts = reader.be32(property.begin + 4);
      const auto height = reader.be32(property.begin + 8);
      const auto height_parts = reader.be32(property.begin + 12);
      if (!width || !width_parts || !height || !height_parts) break;
      item.shown_width = std::min(item.shown_width, rounded_quotient(*width, *width_parts));
      item.shown_height = std::min(item.shown_height, rounded_quotient(*height, *height_parts));
      break;
    }
    case box_type("irot"):
      item.quarter_turns = reader.u8(property.begin).value_or(0) & 3;
      for (std::uint32_t i = 0; i < item.quarter_turns; ++i) {
        item.turn = {item.turn.c, item.turn.d, -item.turn.a, -item.turn.b};
      }
      if (item.quarter_turns % 2 == 1) std::swap(item.shown_width, item.shown_height);
      break;
    case box_type("imir"):
      item.mirror = static_cast<int>(reader.u8(property.begin).value_or(0) & 1);
      if (item.mirror == 0) {
        item.turn = {item.turn.a, item.turn.b, -item.turn.c, -item.turn.d};
      } else {
        item.turn = {-item.turn.a, -item.turn.b, item.turn.c, item.turn.d};
      }
      break;
    default:
      break;
  }
}

// Indices (from 1) of the properties of item `wanted`, in their order.
std::vector<std::uint32_t> properties_of(HeaderReader& reader, const Box& ipma, std::uint32_t wanted) {
  std::vector<std::uint32_t> indices;
  const auto version_flags = reader.be32(ipma.begin);
  const auto entries = reader.be32(ipma.begin + 4);
  if (!version_flags || !entries) return indices;
  const std::size_t id_bytes = (*version_flags >> 24) >= 1 ? 4 : 2;
  const bool wide = (*version_flags & 1) != 0;
  std::size_t at = ipma.begin + 8;
  for (std::uint32_t i = 0; i < *entries && at < ipma.end; ++i) {
    const auto id = reader.number(at, id_bytes, ByteOrder::kBig);
    const auto count = reader.u8(at + id_bytes);
    if (!id || !count) break;
    at += id_bytes + 1;
    const std::size_t index_bytes = wide ? 2 : 1;
    if (*id == wanted) {
      for (std::uint32_t k = 0; k < *count; ++k) {
        const auto index = reader.number(at + k * index_bytes, index_bytes, ByteOrder::kBig);
        if (!index) break;
        indices.push_back(*index & (wide ? 0x7FFFU : 0x7FU));  // the top bit says "essential"
      }
    }
    at += *count * index_bytes;
  }
  return indices;
}

// Whether an auxiliary type says that its item is an alpha plane.
bool is_alpha(HeaderReader& reader, const Box& auxc) {
  constexpr std::size_t kMaxNameBytes = 64;
  if (auxc.end - auxc.begin < 5) return false;
  const auto name = reader.text(auxc.begin + 4, std::min(auxc.end - auxc.begin - 4, kMaxNameBytes));
  return name && (name->starts_with("urn:mpeg:mpegB:cicp:systems:auxiliary:alpha"sv) ||
                  name->starts_with("urn:mpeg:hevc:2015:auxid:1"sv));
}

// A coded picture is rounded up to blocks of at most 64 px, which no limit means.
Status check_coded_size(HeaderReader& reader, const Box& hvcc, const MediaLimits& limits) {
  constexpr std::uint32_t kBlock = 64;
  const auto coded = hevc_coded_size(reader, hvcc.begin, hvcc.end);
  if (!coded) return {};
  MediaInfo size;
  size.width = std::max(1U, coded->width / kBlock * kBlock);
  size.height = std::max(1U, coded->height / kBlock * kBlock);
  return check_size(size, limits);
}

// The properties that items share. Every size among them is held against the limits.
Status read_properties(HeaderReader& reader, const Box& ipco, const MediaLimits& limits, MediaInfo& info,
                       std::vector<Box>& properties) {
  BoxWalk walk(reader, ipco.begin, ipco.end);
  while (const auto property = walk.next()) {
    properties.push_back(*property);
    if (property->type == box_type("ispe")) {
      MediaInfo size;
      size.width = reader.be32(property->begin + 4).value_or(0);
      size.height = reader.be32(property->begin + 8).value_or(0);
      if (size.width == 0 || size.height == 0) continue;
      if (Status status = check_size(size, limits); !status.ok()) return status;
    } else if (property->type == box_type("hvcC")) {
      if (Status status = check_coded_size(reader, *property, limits); !status.ok()) return status;
    } else if (property->type == box_type("auxC") && is_alpha(reader, *property)) {
      info.has_alpha = true;
    }
  }
  return {};
}

Status read_meta(HeaderReader& reader, const Box& meta, const MediaLimits& limits, MediaInfo& info,
                 Item& item) {
  std::optional<std::uint32_t> primary;
  std::vector<Box> properties;
  std::vector<Box> associations;
  BoxWalk walk(reader, meta.begin + 4, meta.end);
  while (const auto box = walk.next()) {
    if (box->type == box_type("pitm")) {
      const auto version = reader.u8(box->begin);
      if (version) primary = reader.number(box->begin + 4, *version == 0 ? 2 : 4, ByteOrder::kBig);
    } else if (box->type == box_type("iref")) {
      if (Status status = check_item_references(reader, *box); !status.ok()) return status;
    } else if (box->type == box_type("iprp")) {
      BoxWalk inner(reader, box->begin, box->end);
      while (const auto part = inner.next()) {
        if (part->type == box_type("ipco")) {
          if (Status status = read_properties(reader, *part, limits, info, properties); !status.ok()) {
            return status;
          }
        } else if (part->type == box_type("ipma")) {
          associations.push_back(*part);
        }
      }
    }
  }
  if (!primary) return {};
  for (const Box& ipma : associations) {
    for (const std::uint32_t index : properties_of(reader, ipma, *primary)) {
      if (index >= 1 && index <= properties.size()) apply_property(reader, properties[index - 1], item);
    }
  }
  return {};
}

// What the tracks of an image sequence tell.
struct Track {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::uint32_t samples = 0;
  std::uint64_t duration_ms = 0;
};

void read_media_header(HeaderReader& reader, const Box& mdhd, Track& track) {
  const bool wide = reader.u8(mdhd.begin).value_or(0) == 1;
  const auto scale = reader.be32(mdhd.begin + (wide ? 20 : 12));
  const auto duration =
      wide ? reader.be64(mdhd.begin + 24) : std::optional<std::uint64_t>(reader.be32(mdhd.begin + 16));
  if (!scale || !duration || *scale == 0) return;
  const double ms = static_cast<double>(*duration) * 1000.0 / *scale;
  track.duration_ms = static_cast<std::uint64_t>(std::min(ms, 1e15));
}

void read_track(HeaderReader& reader, const Box& box, Track& track, int depth) {
  BoxWalk walk(reader, box.begin, box.end);
  while (const auto part = walk.next()) {
    switch (part->type) {
      case box_type("tkhd"):
        if (part->end - part->begin >= 8) {
          track.width = reader.be32(part->end - 8).value_or(0) >> 16;
          track.height = reader.be32(part->end - 4).value_or(0) >> 16;
        }
        break;
      case box_type("mdhd"):
        read_media_header(reader, *part, track);
        break;
      case box_type("stsz"):
        track.samples = reader.be32(part->begin + 8).value_or(0);
        break;
      case box_type("mdia"):
      case box_type("minf"):
      case box_type("stbl"):
        if (depth < 4) read_track(reader, *part, track, depth + 1);
        break;
      default:
        break;
    }
  }
}

// The track with most frames: alpha tracks have as many as their colour track.
Track read_movie(HeaderReader& reader, const Box& moov) {
  Track longest;
  BoxWalk walk(reader, moov.begin, moov.end);
  while (const auto box = walk.next()) {
    if (box->type != box_type("trak")) continue;
    Track track;
    read_track(reader, *box, track, 0);
    if (track.samples > longest.samples) longest = track;
  }
  return longest;
}

std::uint8_t orientation_of(const Item& item) {
  // EXIF orientation of an anticlockwise turn, then: nothing, mode 0 (top and bottom), mode 1.
  constexpr std::uint8_t kOrientations[4][3] = {{1, 4, 2}, {8, 5, 7}, {3, 2, 4}, {6, 7, 5}};
  return kOrientations[item.quarter_turns][item.mirror + 1];
}

// The EXIF orientation that takes the item's turn back.
std::uint8_t undo_of(const Item& item) {
  // What each orientation does with a point's coordinates: a, b, c, d. The inverse of a turn is its
  // transpose.
  constexpr int kTurns[8][4] = {{1, 0, 0, 1}, {-1, 0, 0, 1}, {-1, 0, 0, -1}, {1, 0, 0, -1},
                                {0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, -1, 0}, {0, 1, -1, 0}};
  for (std::uint8_t i = 0; i < 8; ++i) {
    const int(&turn)[4] = kTurns[i];
    if (turn[0] == item.turn.a && turn[1] == item.turn.c && turn[2] == item.turn.b &&
        turn[3] == item.turn.d) {
      return static_cast<std::uint8_t>(i + 1);
    }
  }
  return 1;
}

const char* name_of(Content content) { return content == Content::kAvif ? "AVIF" : "HEIC"; }

Result<MediaInfo> read_picture(HeaderReader& reader, Content content, bool sequence, const Box& ftyp,
                               const MediaLimits& limits) {
  MediaInfo info;
  info.format = content == Content::kAvif ? Format::kAvif : Format::kHeic;
  Item item;
  Track track;
  bool meta_seen = false;
  bool movie_seen = false;
  BoxWalk walk(reader, ftyp.end, reader.size());
  while (const auto box = walk.next()) {
    if (box->type == box_type("meta") && !meta_seen) {
      if (box->cut || box->end - box->begin < 4) return reader.failure(name_of(content));
      meta_seen = true;
      if (Status status = read_meta(reader, *box, limits, info, item); !status.ok()) return status;
    } else if (box->type == box_type("moov") && sequence && !movie_seen) {
      if (box->cut) return reader.failure(name_of(content));
      movie_seen = true;
      track = read_movie(reader, *box);
    }
  }
  if (reader.exhausted()) return reader.failure(name_of(content));
  if (!meta_seen && !movie_seen) return reader.failure(name_of(content));
  if (content == Content::kHeic) {
    if (!meta_seen || item.width == 0) {
      return Status(Code::kUnsupported, "HEIC image sequences without a primary picture are not supported");
    }
    // libheif turns and crops by itself.
    info.width = item.shown_width;
    info.height = item.shown_height;
    info.undo = undo_of(item);
  } else {
    const bool animated = track.samples > 0;
    info.width = animated && track.width > 0 ? track.width : item.width;
    info.height = animated && track.height > 0 ? track.height : item.height;
    info.orientation = orientation_of(item);
    if (animated) {
      info.frames = track.samples;
      if (track.samples > 1) {
        info.duration_ms = static_cast<std::uint32_t>(
            std::min<std::uint64_t>(track.duration_ms, std::numeric_limits<std::uint32_t>::max()));
      }
    }
  }
  if (info.width == 0 || info.height == 0) {
    return Status(Code::kInvalidContent, std::string("the ") + name_of(content) +
                                             " data does not tell the size of its primary picture");
  }
  info.bits = static_cast<std::uint8_t>(std::clamp<std::uint32_t>(item.bits, 8, 16));
  info.channels = item.channels == 1 ? 1 : 3;
  if (info.has_alpha) ++info.channels;
  return info;
}

}  // namespace

Result<MediaInfo> read_isobmff_header(HeaderReader& reader, const MediaLimits& limits) {
  BoxWalk walk(reader, 0, reader.size());
  const auto ftyp = walk.next();
  if (!ftyp || ftyp->type != box_type("ftyp")) return read_video_header(reader, Format::kMp4);
  const auto major = reader.text(ftyp->begin, 4);
  if (!major) {
    return Status(Code::kInvalidContent, "the data is truncated: it ends inside its first bytes");
  }
  const Content content = content_of(reader, *ftyp, *major);
  switch (content) {
    case Content::kVideo:
      return read_video_header(reader, Format::kMp4);
    case Content::kOtherHeif:
      return Status(Code::kUnsupported, "HEIF pictures that are neither AVIF nor HEIC are not supported");
    default:
      break;
  }
  return read_picture(reader, content, *major == "avis"sv, *ftyp, limits);
}

}  // namespace floodgate
