#include "floodgate/arena_space.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace floodgate {

Result<std::unique_ptr<ArenaSpace>> ArenaSpace::map(std::span<const ArenaPiece> pieces) {
  const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
  std::vector<std::uint64_t> starts;
  std::uint64_t size = 0;
  for (const ArenaPiece& piece : pieces) {
    if (piece.bytes == 0) return Status(Code::kInvalidArgument, "an arena has no bytes");
    starts.push_back(size);
    size += (piece.bytes + page - 1) / page * page;
  }
  if (pieces.empty()) return Status(Code::kInvalidArgument, "there is no arena to map");
  // Room for all first, so that they come to lie side by side.
  void* base = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return Status(Code::kUnavailable, std::string("cannot map the arenas: ") + std::strerror(errno));
  }
  auto* const first = static_cast<std::uint8_t*>(base);
  std::unique_ptr<ArenaSpace> space(new ArenaSpace(first, size, std::move(starts)));
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    void* const there = first + space->start(i);
    if (mmap(there, pieces[i].bytes, PROT_READ, MAP_SHARED | MAP_FIXED, pieces[i].fd, 0) == MAP_FAILED) {
      return Status(Code::kUnavailable, std::string("cannot map an arena: ") + std::strerror(errno));
    }
  }
  return space;
}

ArenaSpace::~ArenaSpace() { munmap(base_, size_); }

}  // namespace floodgate
