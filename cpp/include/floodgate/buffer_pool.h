// The buffers in which batches are built, and the shared memory under them.
//
//     free -> filling -> [sealing ->] sealed -> in flight -> (quarantined ->) free
//
// A pool belongs to one ensemble of one generation. Each buffer holds `max_rows` rows of every tensor; a
// tensor's rows are contiguous, so the first n of them are a dense tensor. While a buffer is in flight or
// quarantined the inference server may read it, and nothing here hands it out. When that server dies, its
// mappings may outlive it in orphaned children: buffers it held move to a fresh region, under a name never
// used before, as they come free. Thread rule: states are the scheduler's, under its lock; row bytes belong
// to whoever claimed the row. Refused: no tensors, no rows, fewer than two buffers, a transition that is not
// drawn above.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "floodgate/device.h"
#include "floodgate/shared_region.h"
#include "floodgate/status.h"
#include "floodgate/tensor.h"

namespace floodgate {

enum class BufferState : std::uint8_t { kFree, kFilling, kSealing, kSealed, kInFlight, kQuarantined };
inline constexpr std::size_t kBufferStates = 6;

struct TensorLayout {
  std::string name;
  DType dtype = DType::kUint8;
  std::vector<std::int64_t> row_shape;  // without the rows
  bool bucketed = false;                // text: a batch may use a shorter row than row_shape says

  [[nodiscard]] std::int64_t row_bytes() const;
};

struct PoolOptions {
  std::uint64_t generation = 0;
  std::vector<TensorLayout> tensors;
  std::uint32_t max_rows = 1;
  std::uint32_t buffers = 2;
  std::shared_ptr<Device> device;  // that regions are mirrored on; empty: none
};

class BufferPool {
 public:
  // Errors: kInvalidArgument (see "Refused"), kUnavailable (no shared memory).
  static Result<std::unique_ptr<BufferPool>> create(PoolOptions options);

  // A region of this pool's size under a name never used before by this process.
  // Thread rule: may be called without the scheduler's lock.
  [[nodiscard]] Result<std::shared_ptr<SharedRegion>> fresh_region() const;

  // Takes a free buffer for filling.
  std::optional<std::uint32_t> begin_filling();
  // kInternal, changing nothing, when the transition is not drawn in the header comment. Freeing a buffer
  // moves it to the pool's newest region.
  Status move(std::uint32_t buffer, BufferState to);
  // New buffers come from `region` from now on: those now free at once, the others when they come free.
  // Returns the region so far, for the caller to let go of where unmapping it does no harm.
  std::shared_ptr<SharedRegion> adopt_region(std::shared_ptr<SharedRegion> region);

  [[nodiscard]] BufferState state(std::uint32_t buffer) const { return buffers_[buffer].state; }
  [[nodiscard]] std::uint32_t count(BufferState state) const {
    return counts_[static_cast<std::size_t>(state)];
  }
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(buffers_.size()); }
  [[nodiscard]] std::uint32_t max_rows() const { return options_.max_rows; }
  [[nodiscard]] const std::vector<TensorLayout>& tensors() const { return options_.tensors; }
  [[nodiscard]] std::size_t region_bytes() const { return region_bytes_; }

  // The bytes of one row of one tensor. REQUIRES: indexes in range, the caller has claimed the row.
  [[nodiscard]] std::span<std::uint8_t> row(std::uint32_t buffer, std::size_t tensor,
                                            std::uint32_t row) const;

  // The region that the buffer lies in.
  [[nodiscard]] const std::shared_ptr<SharedRegion>& region(std::uint32_t buffer) const {
    return buffers_[buffer].region;
  }

  // Row rows[i] of buffer `from` becomes row i of buffer `to`, whose bucketed rows become `row_length` bytes,
  // zero beyond what was written. Thread rule: may be called without the scheduler's lock. REQUIRES: both
  // buffers belong to the caller; when from == to, rows are either ascending, or row_length == 0 and every
  // rows[i] is i or >= rows.size(). Rows that moved are copied to the device as well, where the region has
  // one.
  void gather(std::uint32_t from, std::span<const std::uint32_t> rows, std::uint32_t to,
              std::int64_t row_length) const;

  // What the server is told about the first `rows` rows: where they lie on the device, as long as that holds
  // them, else on the host. `row_length` as in gather().
  [[nodiscard]] std::vector<TensorRef> tensor_refs(std::uint32_t buffer, std::uint32_t rows,
                                                   std::int64_t row_length) const;

 private:
  struct Buffer {
    BufferState state = BufferState::kFree;
    std::shared_ptr<SharedRegion> region;
  };
  BufferPool(PoolOptions options, std::vector<std::int64_t> offsets, std::size_t buffer_bytes);
  [[nodiscard]] std::uint8_t* tensor_base(std::uint32_t buffer, std::size_t tensor) const;

  // Constant after construction.
  const PoolOptions options_;
  const std::vector<std::int64_t> offsets_;  // of each tensor in a buffer
  const std::size_t buffer_bytes_;
  const std::size_t region_bytes_;

  // Guarded by the scheduler's lock.
  std::shared_ptr<SharedRegion> newest_;
  std::vector<Buffer> buffers_;
  std::uint32_t counts_[kBufferStates] = {};
};

// Unlinks the buffer regions of processes that died without doing so, told by their lock. Names that are not
// "floodgate-<pid>-<generation>-<serial>" are let alone. Returns how many were removed.
std::size_t sweep_stale_buffers();

}  // namespace floodgate
