#include <string>
#include <utility>

#include "cuda_device.h"

namespace floodgate {
namespace cuda {
namespace {

constexpr int kMajor = 1000;  // of a version number: 13020 is 13.2
constexpr int kLeastCompute = 8;

std::string version_text(int version) {
  return std::to_string(version / kMajor) + "." + std::to_string(version % kMajor / 10);
}

std::string problem_of(Runtime& runtime, const DeviceOptions& options, DeviceFacts& facts) {
  facts.toolkit = runtime.toolkit_version();
  if (runtime.driver_version(facts.driver) != kSuccess || facts.driver == 0) {
    facts.driver = 0;
    return "there is no NVIDIA driver";
  }
  // Within a major version an older driver runs what a newer toolkit built.
  if (facts.driver / kMajor < facts.toolkit / kMajor) {
    return "the NVIDIA driver is too old: it runs CUDA up to " + version_text(facts.driver) +
           ", this needs " + std::to_string(facts.toolkit / kMajor) + ".0";
  }
  int devices = 0;
  if (const int error = runtime.device_count(devices); error != kSuccess || devices == 0) {
    return error == kSuccess || error == kNoDevice
               ? "there is no CUDA device"
               : status_of(runtime, error, "looking for devices").message();
  }
  if (options.ordinal >= devices) {
    return "there is no device " + std::to_string(options.ordinal) + ", only " + std::to_string(devices);
  }
  Properties found;
  if (const int error = runtime.properties(options.ordinal, found); error != kSuccess) {
    return status_of(runtime, error, "asking about the device").message();
  }
  facts.name = found.name;
  facts.compute_major = found.major;
  facts.compute_minor = found.minor;
  facts.memory_bytes = found.memory_bytes;
  if (found.major < kLeastCompute) {
    return "the device (" + found.name + ") has compute capability " + std::to_string(found.major) + "." +
           std::to_string(found.minor) + "; 8.0 or later is needed";
  }
  return "";
}

}  // namespace

DeviceFacts look_for_device(Runtime* runtime, const DeviceOptions& options) {
  DeviceFacts facts;
  facts.built = runtime != nullptr;
  facts.problem = runtime != nullptr ? problem_of(*runtime, options, facts) : "this was built without CUDA";
  return facts;
}

}  // namespace cuda

DeviceFacts look_for_device(const DeviceOptions& options) {
  DeviceFacts facts = cuda::look_for_device(cuda::cuda_runtime(), options);
  auto library = cuda::load_nvjpeg(options.jpeg_library);
  if (library.ok()) {
    facts.jpeg = library.value()->version();
  } else {
    facts.jpeg_problem = library.status().message();
  }
  return facts;
}

Result<std::shared_ptr<Device>> open_device(const DeviceOptions& options) {
  cuda::Runtime* const runtime = cuda::cuda_runtime();
  const DeviceFacts facts = cuda::look_for_device(runtime, options);
  if (!facts.problem.empty()) return Status(Code::kUnavailable, facts.problem);
  auto library = cuda::load_nvjpeg(options.jpeg_library);
  if (!library.ok()) return library.status();
  return cuda::CudaDevice::open(*runtime, std::move(library).value(), options);
}

}  // namespace floodgate
