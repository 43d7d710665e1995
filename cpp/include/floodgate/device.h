// A GPU that decodes and renders pictures beside the decode workers, and the memory that it shares.
//
// A Device takes baseline JPEGs from many threads, decodes those that wait together (nvJPEG) and renders all
// their views in one launch. It is never needed: whatever it does not take, the CPU does, and each such case
// is counted by its reason. After any error but a lack of memory it is lost for this process and takes
// nothing more. Rows go to host memory and, where a buffer has a DeviceRegion, to device memory too, so that
// no row is lost with the device. Thread rule: any thread. No CUDA header is needed here, and none is seen.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "floodgate/media.h"
#include "floodgate/status.h"
#include "floodgate/view.h"

namespace floodgate {

// What was found when looking for a device, for people.
struct DeviceFacts {
  bool built = false;   // with CUDA
  int toolkit = 0;      // 13000 is 13.0
  int driver = 0;       // the latest CUDA that the driver runs; 0: no driver
  std::string problem;  // why there is no device to use; empty: there is one
  std::string name;
  int compute_major = 0;
  int compute_minor = 0;
  std::uint64_t memory_bytes = 0;
  std::string jpeg;          // version of nvJPEG; empty: not there
  std::string jpeg_problem;  // why nvJPEG cannot be used
};

// Why the CPU did what the device was meant to do.
enum class DeviceFallback : std::uint8_t {
  kRefused,   // nvJPEG does not decode this JPEG
  kTooLarge,  // it needs more than the device memory set aside
  kNoMemory,  // the device was out of memory
  kLost,      // the device failed; pictures that were under way
};
inline constexpr std::size_t kDeviceFallbacks = 4;
// "refused", "too_large", "no_memory", "lost".
const char* fallback_name(DeviceFallback fallback);

struct DeviceStats {
  bool lost = false;
  std::string problem;            // why it was lost
  std::uint64_t pictures = 0;     // decoded and rendered
  std::uint64_t batches = 0;      // that those went in
  std::uint64_t busy_ns = 0;      // all streams together, on those batches: decoding, kernels, copies
  std::uint64_t rows_staged = 0;  // rendered on the CPU and copied to device memory
  std::array<std::uint64_t, kDeviceFallbacks> fallbacks = {};
};

// Device memory that mirrors a SharedRegion byte for byte, and that an inference server opens by its handle.
// Any failure makes it invalid for good; the host's bytes are then what counts.
class DeviceRegion {
 public:
  virtual ~DeviceRegion() = default;
  [[nodiscard]] virtual bool valid() const = 0;
  [[nodiscard]] virtual int device() const = 0;
  // Of the region's first byte; the host cannot read it.
  [[nodiscard]] virtual std::uint8_t* address() const = 0;
  // The 64 bytes of a cudaIpcMemHandle_t.
  [[nodiscard]] virtual std::span<const std::uint8_t> handle() const = 0;
  // Copies from the host's region to the same place here. REQUIRES: inside.
  virtual void upload(std::size_t offset, std::size_t bytes) = 0;
  // Until all copies are done. Whether they were, and the region is valid.
  virtual bool wait() = 0;
};

// One row to render: in host memory, and where `region` is given also there.
struct DeviceRow {
  const ImageView* view = nullptr;
  std::span<std::uint8_t> row;
  DeviceRegion* region = nullptr;
  std::size_t offset = 0;  // of the row in the region
};

class Device {
 public:
  virtual ~Device() = default;
  // Whether it would take a picture: not lost, and one it is made for.
  [[nodiscard]] virtual bool takes(const MediaInfo& info) const = 0;
  // Decodes and renders, together with what other threads bring meanwhile; blocks until it is done. Any error
  // means that the CPU should do it, and is counted: the rows' bytes are then unspecified. REQUIRES:
  // takes(info).
  virtual Status render(std::span<const std::uint8_t> encoded, const MediaInfo& info,
                        std::span<const DeviceRow> rows) = 0;
  // Memory that mirrors `host`; null where there is none, which is counted. REQUIRES: `host` outlives it.
  virtual std::shared_ptr<DeviceRegion> mirror(std::span<std::uint8_t> host) = 0;
  [[nodiscard]] virtual DeviceStats stats() const = 0;
  // As found when it was opened.
  [[nodiscard]] virtual const DeviceFacts& facts() const = 0;
  virtual void count_staged(std::uint64_t rows) = 0;
};

struct DeviceOptions {
  int ordinal = 0;
  std::string jpeg_library{};               // path of libnvjpeg; empty: as the loader finds it
  std::uint64_t memory_bytes = 1ULL << 30;  // for pictures on their way, over all streams
  std::uint32_t streams = 2;                // 1..8: batches under way at once
  std::uint32_t max_batch = 64;             // 1..1024: pictures in one
};

// Never fails: what is missing is said in it.
DeviceFacts look_for_device(const DeviceOptions& options);

// Errors: kUnavailable (built without CUDA, no driver, too old a driver, no device, no nvJPEG, no memory; the
// message names it), kInvalidArgument naming the option.
Result<std::shared_ptr<Device>> open_device(const DeviceOptions& options);

}  // namespace floodgate
