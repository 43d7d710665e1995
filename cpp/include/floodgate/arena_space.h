// Several arenas read as one: mapped side by side and read-only, so that one offset names any of their bytes.
//
// The scheduler's process, the decoders' zygotes and their workers each map the same arenas in the same
// order, so an offset means the same to all of them. Whoever fills an arena has a mapping of its own. Owns
// its mapping, not the descriptors. Thread rule: immutable. Refused: no arena, an empty one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "floodgate/status.h"

namespace floodgate {

// Plain data: shared memory of `bytes` bytes behind `fd`, which can be read at least.
struct ArenaPiece {
  int fd = -1;
  std::uint64_t bytes = 0;
};

class ArenaSpace {
 public:
  // Errors: kInvalidArgument (nothing to map), kUnavailable (it cannot be mapped).
  static Result<std::unique_ptr<ArenaSpace>> map(std::span<const ArenaPiece> pieces);
  ~ArenaSpace();
  ArenaSpace(const ArenaSpace&) = delete;
  ArenaSpace& operator=(const ArenaSpace&) = delete;

  [[nodiscard]] std::span<const std::uint8_t> bytes() const { return {base_, size_}; }
  // Offset of a piece's first byte.
  [[nodiscard]] std::uint64_t start(std::size_t piece) const { return starts_[piece]; }

 private:
  ArenaSpace(std::uint8_t* base, std::size_t size, std::vector<std::uint64_t> starts)
      : base_(base), size_(size), starts_(std::move(starts)) {}

  std::uint8_t* const base_;
  const std::size_t size_;
  const std::vector<std::uint64_t> starts_;
};

}  // namespace floodgate
