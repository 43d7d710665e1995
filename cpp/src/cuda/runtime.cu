#include <cuda_runtime_api.h>

#include <cstring>

#include "error.h"
#include "runtime.h"
#include "view_launch.h"

namespace floodgate::cuda {
namespace {

static_assert(kSuccess == cudaSuccess && kMemoryAllocation == cudaErrorMemoryAllocation &&
              kInsufficientDriver == cudaErrorInsufficientDriver && kNoDevice == cudaErrorNoDevice &&
              kEccUncorrectable == cudaErrorECCUncorrectable && kIllegalAddress == cudaErrorIllegalAddress &&
              kContextIsDestroyed == cudaErrorContextIsDestroyed && kLaunchFailure == cudaErrorLaunchFailure);
static_assert(sizeof(IpcHandle) == sizeof(cudaIpcMemHandle_t));

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

class CudaRuntime final : public Runtime {
 public:
  int toolkit_version() override { return CUDART_VERSION; }
  int driver_version(int& version) override { return cudaDriverGetVersion(&version); }
  int device_count(int& devices) override { return cudaGetDeviceCount(&devices); }
  int properties(int device, Properties& properties) override {
    cudaDeviceProp found{};
    const int error = cudaGetDeviceProperties(&found, device);
    if (error != kSuccess) return error;
    properties = {found.name, found.major, found.minor, found.totalGlobalMem};
    return kSuccess;
  }
  int use(int device) override { return cudaSetDevice(device); }

  int allocate(void** memory, std::size_t bytes) override { return cudaMalloc(memory, bytes); }
  int release(void* memory) override { return cudaFree(memory); }
  int allocate_pinned(void** memory, std::size_t bytes) override { return cudaMallocHost(memory, bytes); }
  int release_pinned(void* memory) override { return cudaFreeHost(memory); }
  int pin(void* memory, std::size_t bytes) override {
    return cudaHostRegister(memory, bytes, cudaHostRegisterPortable);
  }
  int unpin(void* memory) override { return cudaHostUnregister(memory); }
  int share(void* memory, IpcHandle& handle) override {
    cudaIpcMemHandle_t opened;
    const int error = cudaIpcGetMemHandle(&opened, memory);
    if (error == kSuccess) std::memcpy(handle.data(), &opened, sizeof opened);
    return error;
  }

  int attach(const IpcHandle& handle, void** memory) override {
    cudaIpcMemHandle_t opened;
    std::memcpy(&opened, handle.data(), sizeof opened);
    return cudaIpcOpenMemHandle(memory, opened, cudaIpcMemLazyEnablePeerAccess);
  }
  int detach(void* memory) override { return cudaIpcCloseMemHandle(memory); }

  int open_stream(void** stream) override {
    cudaStream_t opened = nullptr;
    const int error = cudaStreamCreateWithFlags(&opened, cudaStreamNonBlocking);
    *stream = opened;
    return error;
  }
  int close_stream(void* stream) override { return cudaStreamDestroy(stream_of(stream)); }
  int copy(void* to, const void* from, std::size_t bytes, void* stream) override {
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_of(stream));
  }
  int launch(const std::uint8_t* table, const TableLayout& layout, void* stream) override {
    return launch_views(table, layout, stream);
  }
  int wait(void* stream) override { return cudaStreamSynchronize(stream_of(stream)); }

  const char* explain(int error) override { return cudaGetErrorString(static_cast<cudaError_t>(error)); }
};

}  // namespace

Runtime* cuda_runtime() {
  static CudaRuntime runtime;
  return &runtime;
}

}  // namespace floodgate::cuda
