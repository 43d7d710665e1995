// What one launch does: pictures of any sizes, each with any views, cut into tiles.
//
// Pictures are added one by one; bytes() is then one flat piece of memory (jobs, tiles, tap lists) that goes
// to the device in one copy. Tiles lie in the order of the source lines that they read, whichever view they
// belong to, so that all views of a picture meet its bytes while the cache still holds them: one pass over
// the device's memory. Memory: values. Thread rule: one thread. Refused: what ViewRenderer refuses, with the
// same words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "floodgate/decode.h"
#include "floodgate/status.h"
#include "floodgate/view.h"
#include "view_tile.h"

namespace floodgate::cuda {

// A decoded picture in device memory: `shape.channels` interleaved samples a pixel, rows `pitch` bytes apart.
struct Surface {
  FrameShape shape;
  const std::uint8_t* pixels = nullptr;
  std::size_t pitch = 0;
};

// A view and the row of device memory that it goes to.
struct DeviceTarget {
  const ImageView* view = nullptr;
  std::uint8_t* row = nullptr;
};

// Where the parts of bytes() begin.
struct TableLayout {
  std::size_t jobs = 0;
  std::size_t tiles = 0;
  std::size_t tables = 0;
  std::uint32_t tile_count = 0;
};

class ViewTable {
 public:
  // Errors: kInvalidArgument, kTooLarge as ViewRenderer::begin; kOverloaded (no memory, or more tap lists
  // than 32 bits count); the table is then as before.
  Status add(const Surface& surface, std::span<const DeviceTarget> targets);

  [[nodiscard]] bool empty() const { return tiles_.empty(); }
  [[nodiscard]] std::size_t size_bytes() const;
  [[nodiscard]] TableLayout layout() const;
  // REQUIRES: out.size() == size_bytes().
  void write(std::span<std::uint8_t> out) const;

 private:
  Status add_view(const Surface& surface, const DeviceTarget& target);
  TapLists add_axis(const Kernel& kernel);
  void add_tiles(std::uint32_t job);

  std::vector<ViewJob> jobs_;
  std::vector<Tile> tiles_;
  std::vector<std::int32_t> tables_;
};

}  // namespace floodgate::cuda
