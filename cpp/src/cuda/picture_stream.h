// One stream of a device: a batch of JPEGs in, rows of their views out.
//
// Pictures lie in a pool of device memory that is taken once; a batch is what fits into it. One nvJPEG call
// decodes the batch, one launch renders all views of all its pictures, rows go to device memory where they
// have a place there and to the host always. Memory: the pool, the tables, the stream. Thread rule: one
// thread at a time; the one that runs it must have called open() or use the same device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "device_memory.h"
#include "device_state.h"
#include "floodgate/device.h"
#include "jpeg_decoder.h"
#include "view_table.h"

namespace floodgate::cuda {

// What one caller waits for.
struct PictureRequest {
  std::span<const std::uint8_t> encoded;
  MediaInfo info;
  std::span<const DeviceRow> rows;
  // Set by PictureStream::run().
  Status status;
  std::optional<DeviceFallback> fallback;  // why it was not done
};

// Device memory that a request takes while it is under way.
std::size_t pool_bytes(const PictureRequest& request);

class PictureStream {
 public:
  explicit PictureStream(DeviceState& state)
      : state_(state), stream_(state), pool_(state), device_table_(state), host_table_(state) {}

  // Takes `pool_bytes` of device memory. Errors: kUnavailable, kOverloaded (no memory).
  Status open(std::size_t pool_bytes, JpegLibrary& library);

  // Every request has its status when it returns. REQUIRES: together they fit into the pool.
  void run(std::span<PictureRequest* const> requests);

 private:
  struct Item;

  Status run_batch(std::vector<Item>& items);
  void decode(std::vector<Item>& items);
  Status render(std::vector<Item>& items);
  Status fetch(const std::vector<Item>& items);

  DeviceState& state_;
  Stream stream_;
  DeviceMemory pool_;
  DeviceMemory device_table_;
  PinnedMemory host_table_;
  std::unique_ptr<JpegDecoder> decoder_;
};

}  // namespace floodgate::cuda
