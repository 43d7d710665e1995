#include "heif_references.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

namespace floodgate {

Status check_item_references(HeaderReader& reader, const Box& iref) {
  constexpr int kMostLevels = 8;
  const auto version = reader.u8(iref.begin);
  if (!version) return {};
  const std::size_t id_bytes = *version == 0 ? 2 : 4;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> made_of;  // the reader's budget bounds it
  BoxWalk walk(reader, iref.begin + 4, iref.end);
  while (const auto box = walk.next()) {
    const bool is_alpha = box->type == box_type("auxl");
    if (!is_alpha && box->type != box_type("dimg")) continue;
    const auto from = reader.number(box->begin, id_bytes, ByteOrder::kBig);
    const auto count = reader.number(box->begin + id_bytes, 2, ByteOrder::kBig);
    if (!from || !count) break;
    for (std::size_t i = 0; i < *count; ++i) {
      const auto to = reader.number(box->begin + (i + 1) * id_bytes + 2, id_bytes, ByteOrder::kBig);
      if (!to) break;
      made_of.push_back(is_alpha ? std::pair(*to, *from) : std::pair(*from, *to));
    }
  }
  std::unordered_map<std::uint32_t, int> levels;
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& [whole, part] : made_of) {
      const int above = levels[part] + 1;
      if (above > kMostLevels) {
        return {Code::kInvalidContent,
                "the picture's parts are made of each other, in a circle or too many levels deep"};
      }
      int& level = levels[whole];
      changed |= level < above;
      level = std::max(level, above);
    }
  }
  return {};
}

}  // namespace floodgate
