#include "png_text.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "exif.h"
#include "header_reader.h"
#include "png_chunks.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kProfileKey = "Raw profile type exif\0"sv;
constexpr std::string_view kXmpKey = "XML:com.adobe.xmp\0"sv;
constexpr std::size_t kMaxTextBytes = 65'536;
constexpr int kMaxChunks = 100'000;
constexpr int kMaxTexts = 16;  // of those that are looked into

// The first kMaxTextBytes of what is compressed; empty when that is damaged.
std::string inflated(std::span<const std::uint8_t> from) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return {};
  std::string text(kMaxTextBytes, '\0');
  stream.next_in = const_cast<Bytef*>(from.data());
  stream.avail_in = static_cast<uInt>(from.size());
  stream.next_out = reinterpret_cast<Bytef*>(text.data());
  stream.avail_out = static_cast<uInt>(text.size());
  const int result = inflate(&stream, Z_SYNC_FLUSH);
  text.resize(text.size() - stream.avail_out);
  inflateEnd(&stream);
  return result == Z_STREAM_END || (result == Z_OK && text.size() == kMaxTextBytes) ? text : std::string();
}

bool is_about(const PngChunk& chunk, std::string_view key) {
  return chunk.body.size() > key.size() && std::memcmp(chunk.body.data(), key.data(), key.size()) == 0;
}

// What a text chunk says under the key that it begins with.
std::string text_of(const PngChunk& chunk, std::string_view key) {
  const std::string_view body(reinterpret_cast<const char*>(chunk.body.data()), chunk.body.size());
  std::size_t at = key.size();
  bool compressed = chunk.type == chunk_type("zTXt");
  if (compressed) {
    if (at >= body.size() || body[at] != 0) return {};  // the method; 0: deflate
    ++at;
  } else if (chunk.type == chunk_type("iTXt")) {
    if (body.size() - at < 2) return {};
    compressed = body[at] != 0;
    if (compressed && body[at + 1] != 0) return {};
    at += 2;
    for (int i = 0; i < 2; ++i) {  // language tag and translated keyword
      at = body.find('\0', at);
      if (at == std::string_view::npos) return {};
      ++at;
    }
  }
  if (compressed) return inflated(chunk.body.subspan(at));
  return std::string(body.substr(at, kMaxTextBytes));
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// The bytes that the lines behind the first three (empty, name, length) spell; empty for what is no spelling.
std::vector<std::uint8_t> profile_of(std::string_view text) {
  std::vector<std::uint8_t> profile;
  for (int line = 0; line < 3; ++line) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return profile;
    text.remove_prefix(end + 1);
  }
  int high = -1;
  for (const char c : text) {
    if (high < 0 && (c == ' ' || (c >= '\t' && c <= '\r'))) continue;
    const int digit = digit_of(c);
    if (digit < 0 && high >= 0 && c == '\n') continue;
    if (digit < 0) return {};
    if (high < 0) {
      high = digit;
    } else {
      profile.push_back(static_cast<std::uint8_t>(high << 4 | digit));
      high = -1;
    }
  }
  return profile;
}

// Whether the checksum of a chunk that is not cut is right.
bool is_intact(std::span<const std::uint8_t> data, const PngChunk& chunk) {
  if (chunk.next > data.size()) return true;  // the data ends before it, which cut nothing else
  return crc32_z(0, data.data() + chunk.at + 4, chunk.body.size() + 4) ==
         read_be32(data.data() + chunk.next - 4);
}

}  // namespace

std::optional<std::uint8_t> png_text_orientation(std::span<const std::uint8_t> data) {
  std::optional<std::uint8_t> profile;
  std::optional<std::uint8_t> xmp;
  int texts = 0;
  std::size_t at = kPngHeaderBytes;
  for (int i = 0; i < kMaxChunks && texts < kMaxTexts; ++i) {
    const auto chunk = png_chunk_at(data, at);
    if (!chunk || chunk->cut || chunk->type == chunk_type("IEND")) break;
    at = chunk->next;
    if (chunk->type == chunk_type("eXIf")) return std::nullopt;
    if (chunk->type != chunk_type("tEXt") && chunk->type != chunk_type("zTXt") &&
        chunk->type != chunk_type("iTXt")) {
      continue;
    }
    const bool is_profile = is_about(*chunk, kProfileKey);
    if ((!is_profile && !is_about(*chunk, kXmpKey)) || !is_intact(data, *chunk)) continue;
    ++texts;
    if (is_profile) {
      const std::vector<std::uint8_t> bytes = profile_of(text_of(*chunk, kProfileKey));
      HeaderReader reader(bytes);
      profile = exif_orientation(reader, 0, bytes.size());
    } else {
      const std::string packet = text_of(*chunk, kXmpKey);
      HeaderReader reader({reinterpret_cast<const std::uint8_t*>(packet.data()), packet.size()});
      xmp = xmp_orientation(reader, 0, packet.size());
    }
  }
  return profile ? profile : xmp;
}

}  // namespace floodgate
