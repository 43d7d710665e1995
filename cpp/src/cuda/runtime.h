// Every call that the core makes into CUDA, as one small interface.
//
// The real one (runtime.cu) hands each call on; tests put an emulated device or one that fails in its place,
// so that whatever stands on this interface runs without a GPU. Errors are the runtime's own numbers, 0 is
// success; error.h says what they mean. Memory: what is allocated here is the caller's to release. Thread
// rule: any thread; use() chooses the device for the calling thread, and must have been called on it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "view_table.h"

namespace floodgate::cuda {

struct Properties {
  std::string name;
  int major = 0;  // compute capability
  int minor = 0;
  std::uint64_t memory_bytes = 0;
};

// As cudaIpcMemHandle_t: what another process opens the memory with.
using IpcHandle = std::array<std::uint8_t, 64>;

class Runtime {
 public:
  virtual ~Runtime() = default;

  // 13000 is 13.0. The driver's is the latest CUDA that it runs; 0: there is no driver.
  virtual int toolkit_version() = 0;
  virtual int driver_version(int& version) = 0;
  virtual int device_count(int& devices) = 0;
  virtual int properties(int device, Properties& properties) = 0;
  virtual int use(int device) = 0;

  virtual int allocate(void** memory, std::size_t bytes) = 0;
  virtual int release(void* memory) = 0;
  virtual int allocate_pinned(void** memory, std::size_t bytes) = 0;
  virtual int release_pinned(void* memory) = 0;
  // Makes memory that is there already fit for fast copies, and lets it go.
  virtual int pin(void* memory, std::size_t bytes) = 0;
  virtual int unpin(void* memory) = 0;
  virtual int share(void* memory, IpcHandle& handle) = 0;
  // The other process's side of share().
  virtual int attach(const IpcHandle& handle, void** memory) = 0;
  virtual int detach(void* memory) = 0;

  virtual int open_stream(void** stream) = 0;
  virtual int close_stream(void* stream) = 0;
  // Either way, or within the device; done when the stream has passed it.
  virtual int copy(void* to, const void* from, std::size_t bytes, void* stream) = 0;
  virtual int launch(const std::uint8_t* table, const TableLayout& layout, void* stream) = 0;
  // Until everything in the stream is done.
  virtual int wait(void* stream) = 0;

  virtual const char* explain(int error) = 0;
};

// The real runtime; null where it was built without CUDA.
Runtime* cuda_runtime();

}  // namespace floodgate::cuda
