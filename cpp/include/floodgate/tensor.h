// Tensors as they cross to the inference server: where the bytes lie, never the bytes themselves.
//
// A TensorRef names a slice of a memory region that both sides can map. It owns nothing; the buffer pool
// does. Thread rule: plain values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace floodgate {

enum class DType : std::uint8_t { kUint8, kInt32, kFloat32 };
enum class MemoryKind : std::uint8_t { kSystemShm, kCudaShm };

// Bytes of one element.
constexpr std::int64_t dtype_bytes(DType dtype) { return dtype == DType::kUint8 ? 1 : 4; }

// Triton's name of the type: "UINT8", "INT32", "FP32".
constexpr const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kUint8:
      return "UINT8";
    case DType::kInt32:
      return "INT32";
    case DType::kFloat32:
      return "FP32";
  }
  return "UINT8";
}

struct TensorRef {
  std::string name;  // the ensemble's input name
  DType dtype = DType::kUint8;
  std::vector<std::int64_t> shape;  // first dimension: rows in the batch
  std::string region;               // POSIX shared-memory key ("/floodgate-…"), mappable by both sides
  MemoryKind kind = MemoryKind::kSystemShm;
  std::int32_t device = 0;        // CUDA ordinal when kind is kCudaShm
  std::string handle;             // 64 bytes of a cudaIpcMemHandle_t when kind is kCudaShm
  std::int64_t region_bytes = 0;  // size of the whole region
  std::int64_t offset = 0;        // of the tensor's first byte in the region
  std::int64_t bytes = 0;         // product(shape) * dtype_bytes(dtype)
};

}  // namespace floodgate
