#include "floodgate/buffer_pool.h"

#include <unistd.h>

#include <atomic>
#include <cstring>
#include <utility>

namespace floodgate {
namespace {

constexpr std::int64_t kTensorAlignment = 64;

// Counts every region this process ever names, over all pools: a name is never used twice.
std::atomic<std::uint64_t> next_serial{1};

bool drawn(BufferState from, BufferState to) {
  switch (to) {
    case BufferState::kFree:
      return from != BufferState::kFree;
    case BufferState::kFilling:
      return false;  // begin_filling() only
    case BufferState::kSealing:
      return from == BufferState::kFilling;
    case BufferState::kSealed:
      return from == BufferState::kFilling || from == BufferState::kSealing;
    case BufferState::kInFlight:
      return from == BufferState::kSealed;
    case BufferState::kQuarantined:
      return from == BufferState::kInFlight;
  }
  return false;
}

}  // namespace

std::int64_t TensorLayout::row_bytes() const {
  std::int64_t bytes = dtype_bytes(dtype);
  for (const std::int64_t side : row_shape) bytes *= side;
  return bytes;
}

BufferPool::BufferPool(PoolOptions options, std::vector<std::int64_t> offsets, std::size_t buffer_bytes)
    : options_(std::move(options)),
      offsets_(std::move(offsets)),
      buffer_bytes_(buffer_bytes),
      region_bytes_(buffer_bytes * options_.buffers),
      buffers_(options_.buffers) {
  counts_[static_cast<std::size_t>(BufferState::kFree)] = options_.buffers;
}

Result<std::unique_ptr<BufferPool>> BufferPool::create(PoolOptions options) {
  if (options.tensors.empty() || options.max_rows == 0 || options.buffers < 2) {
    return Status(Code::kInvalidArgument, "a buffer pool needs a tensor, a row and two buffers");
  }
  std::vector<std::int64_t> offsets;
  std::int64_t bytes = 0;
  for (const TensorLayout& tensor : options.tensors) {
    if (tensor.row_bytes() <= 0) {
      return Status(Code::kInvalidArgument, "the rows of tensor " + tensor.name + " are empty");
    }
    offsets.push_back(bytes);
    bytes += tensor.row_bytes() * options.max_rows;
    bytes = (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
  }
  std::unique_ptr<BufferPool> pool(
      new BufferPool(std::move(options), std::move(offsets), static_cast<std::size_t>(bytes)));
  auto region = pool->fresh_region();
  if (!region.ok()) return region.status();
  pool->adopt_region(std::move(region).value());
  return pool;
}

Result<std::shared_ptr<SharedRegion>> BufferPool::fresh_region() const {
  const std::string key = "/floodgate-" + std::to_string(getpid()) + "-" +
                          std::to_string(options_.generation) + "-" +
                          std::to_string(next_serial.fetch_add(1));
  auto region = SharedRegion::named(key, region_bytes_);
  if (region.ok() && options_.device) {
    region.value()->mirror_on(options_.device->mirror(region.value()->bytes()));
  }
  return region;
}

std::optional<std::uint32_t> BufferPool::begin_filling() {
  for (std::uint32_t buffer = 0; buffer < buffers_.size(); ++buffer) {
    if (buffers_[buffer].state != BufferState::kFree) continue;
    buffers_[buffer].state = BufferState::kFilling;
    --counts_[static_cast<std::size_t>(BufferState::kFree)];
    ++counts_[static_cast<std::size_t>(BufferState::kFilling)];
    return buffer;
  }
  return std::nullopt;
}

Status BufferPool::move(std::uint32_t buffer, BufferState to) {
  if (buffer >= buffers_.size() || !drawn(buffers_[buffer].state, to)) {
    return Status(Code::kInternal, "a batch buffer was moved to a state it cannot reach");
  }
  Buffer& moved = buffers_[buffer];
  --counts_[static_cast<std::size_t>(moved.state)];
  ++counts_[static_cast<std::size_t>(to)];
  moved.state = to;
  if (to == BufferState::kFree) moved.region = newest_;
  return {};
}

std::shared_ptr<SharedRegion> BufferPool::adopt_region(std::shared_ptr<SharedRegion> region) {
  std::shared_ptr<SharedRegion> old = std::exchange(newest_, std::move(region));
  for (Buffer& buffer : buffers_) {
    if (buffer.state == BufferState::kFree) buffer.region = newest_;
  }
  return old;
}

std::uint8_t* BufferPool::tensor_base(std::uint32_t buffer, std::size_t tensor) const {
  return buffers_[buffer].region->bytes().data() + buffer * buffer_bytes_ + offsets_[tensor];
}

std::span<std::uint8_t> BufferPool::row(std::uint32_t buffer, std::size_t tensor, std::uint32_t row) const {
  const auto bytes = static_cast<std::size_t>(options_.tensors[tensor].row_bytes());
  return {tensor_base(buffer, tensor) + row * bytes, bytes};
}

void BufferPool::gather(std::uint32_t from, std::span<const std::uint32_t> rows, std::uint32_t to,
                        std::int64_t row_length) const {
  DeviceRegion* const device = buffers_[to].region->device();
  for (std::size_t tensor = 0; tensor < options_.tensors.size(); ++tensor) {
    const TensorLayout& layout = options_.tensors[tensor];
    const auto full = static_cast<std::size_t>(layout.row_bytes());
    const std::size_t kept = layout.bucketed ? static_cast<std::size_t>(row_length) : full;
    const std::uint8_t* source = tensor_base(from, tensor);
    std::uint8_t* target = tensor_base(to, tensor);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::uint8_t* row = source + rows[i] * full;
      if (row == target + i * kept) continue;
      std::memmove(target + i * kept, row, kept);
      if (device != nullptr) {
        device->upload(static_cast<std::size_t>(target - buffers_[to].region->bytes().data()) + i * kept,
                       kept);
      }
    }
  }
  // A copy that failed has made the device's side invalid.
  if (device != nullptr) (void)device->wait();
}

std::vector<TensorRef> BufferPool::tensor_refs(std::uint32_t buffer, std::uint32_t rows,
                                               std::int64_t row_length) const {
  std::vector<TensorRef> refs;
  const SharedRegion& region = *buffers_[buffer].region;
  const DeviceRegion* const device = region.device();
  const bool on_device = device != nullptr && device->valid();
  for (std::size_t tensor = 0; tensor < options_.tensors.size(); ++tensor) {
    const TensorLayout& layout = options_.tensors[tensor];
    TensorRef ref;
    ref.name = layout.name;
    ref.dtype = layout.dtype;
    ref.shape.push_back(rows);
    if (layout.bucketed) {
      ref.shape.push_back(row_length);
    } else {
      ref.shape.insert(ref.shape.end(), layout.row_shape.begin(), layout.row_shape.end());
    }
    ref.region = region.key();
    if (on_device) {
      ref.kind = MemoryKind::kCudaShm;
      ref.device = device->device();
      ref.handle.assign(device->handle().begin(), device->handle().end());
    }
    ref.region_bytes = static_cast<std::int64_t>(region.bytes().size());
    ref.offset = static_cast<std::int64_t>(buffer * buffer_bytes_) + offsets_[tensor];
    ref.bytes = dtype_bytes(layout.dtype);
    for (const std::int64_t side : ref.shape) ref.bytes *= side;
    refs.push_back(std::move(ref));
  }
  return refs;
}

std::size_t sweep_stale_buffers() {
  return sweep_stale_regions([](std::string_view name) {
    constexpr std::string_view kPrefix = "floodgate-";
    if (!name.starts_with(kPrefix)) return false;
    int numbers = 0;
    bool digit_before = false;
    for (const char letter : name.substr(kPrefix.size())) {
      const bool digit = letter >= '0' && letter <= '9';
      if (!digit && (letter != '-' || !digit_before)) return false;
      if (digit && !digit_before) ++numbers;
      digit_before = digit;
    }
    return digit_before && numbers == 3;
  });
}

}  // namespace floodgate
