// The chunks of a PNG (ISO/IEC 15948, third edition), one after another, without any budget.
//
// Used by the decoder, which reads all of the data anyway. Borrows it. Thread rule: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace floodgate {

constexpr std::uint32_t chunk_type(const char (&name)[5]) {
  std::uint32_t type = 0;
  for (int i = 0; i < 4; ++i) type = type << 8 | static_cast<unsigned char>(name[i]);
  return type;
}

inline constexpr std::size_t kPngHeaderBytes = 33;  // the signature and IHDR

struct PngChunk {
  std::uint32_t type = 0;
  std::span<const std::uint8_t> body;  // as much of it as there is
  std::size_t at = 0;                  // of its length field
  std::size_t next = 0;                // of the chunk behind it
  bool cut = false;                    // the data ends inside it
};

inline std::uint32_t read_be32(const std::uint8_t* bytes) {
  return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 |
         bytes[3];
}
inline std::uint32_t read_be16(const std::uint8_t* bytes) { return std::uint32_t{bytes[0]} << 8 | bytes[1]; }

// The chunk at `at`; nothing where the data ends before its contents.
inline std::optional<PngChunk> png_chunk_at(std::span<const std::uint8_t> data, std::size_t at) {
  if (at > data.size() || data.size() - at < 8) return std::nullopt;
  const std::uint32_t length = read_be32(data.data() + at);
  if (length > 0x7FFFFFFF) return std::nullopt;
  PngChunk chunk;
  chunk.type = read_be32(data.data() + at + 4);
  chunk.at = at;
  const std::size_t there = data.size() - at - 8;
  chunk.cut = length > there;
  chunk.body = data.subspan(at + 8, chunk.cut ? there : length);
  chunk.next = at + 12 + length;  // its checksum may be missing
  return chunk;
}

}  // namespace floodgate
