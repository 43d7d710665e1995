// What the CUDA runtime's error numbers mean here.
//
// Out of memory passes: the work at hand goes another way. Every other error ends the device for this
// process: most (an ECC error, a driver reset, an illegal address) stay with the context for good, and after
// the rest nobody knows what its memory holds. Thread rule: stateless.
#pragma once

#include <string>

#include "floodgate/status.h"
#include "runtime.h"

namespace floodgate::cuda {

// Numbers of cudaError_t; runtime.cu checks them against the toolkit's.
inline constexpr int kSuccess = 0;
inline constexpr int kMemoryAllocation = 2;
inline constexpr int kInsufficientDriver = 35;
inline constexpr int kNoDevice = 100;
inline constexpr int kEccUncorrectable = 214;
inline constexpr int kIllegalAddress = 700;
inline constexpr int kContextIsDestroyed = 709;
inline constexpr int kLaunchFailure = 719;

constexpr bool ends_device(int error) { return error != kSuccess && error != kMemoryAllocation; }

// kOverloaded (out of memory) or kUnavailable: "CUDA: <doing>: <reason>". REQUIRES: error != 0.
Status status_of(Runtime& runtime, int error, const std::string& doing);

}  // namespace floodgate::cuda
