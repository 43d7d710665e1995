// Boxes of the ISO base media file format (ISO/IEC 14496-12), one after another, within bounds.
//
// Each box lies inside what holds it; a length that says otherwise ends the walk. Reads count against the
// HeaderReader's budget, so that loops and millions of boxes end. Thread rule: one walk, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "header_reader.h"

namespace floodgate {

constexpr std::uint32_t box_type(const char (&name)[5]) {
  std::uint32_t type = 0;
  for (int i = 0; i < 4; ++i) type = type << 8 | static_cast<unsigned char>(name[i]);
  return type;
}

struct Box {
  std::uint32_t type = 0;
  std::size_t begin = 0;  // of its contents
  std::size_t end = 0;    // past them
  bool cut = false;       // the box goes on behind the end of the data
};

class BoxWalk {
 public:
  // The boxes in [begin, end). REQUIRES: end <= reader.size().
  BoxWalk(HeaderReader& reader, std::size_t begin, std::size_t end)
      : reader_(reader), at_(begin), end_(end) {}

  // The next box; nothing at the end or where the next one is malformed.
  std::optional<Box> next() {
    if (at_ > end_ || end_ - at_ < 8) return std::nullopt;
    const auto size = reader_.be32(at_);
    const auto type = reader_.be32(at_ + 4);
    if (!size || !type) return std::nullopt;
    std::size_t header = 8;
    std::uint64_t bytes = *size;
    if (bytes == 1) {
      if (end_ - at_ < 16) return std::nullopt;
      const auto large = reader_.be64(at_ + 8);
      if (!large) return std::nullopt;
      header = 16;
      bytes = *large;
    } else if (bytes == 0) {
      bytes = end_ - at_;  // to the end
    }
    if (bytes < header) return std::nullopt;
    Box box;
    box.type = *type;
    box.begin = at_ + header;
    box.cut = bytes > end_ - at_;
    if (box.cut && end_ != reader_.size()) return std::nullopt;
    box.end = box.cut ? end_ : at_ + static_cast<std::size_t>(bytes);
    at_ = box.end;
    return box;
  }

 private:
  HeaderReader& reader_;
  std::size_t at_;
  const std::size_t end_;
};

}  // namespace floodgate
