// The few declarations of nvJPEG 12 and 13 that are used, so that neither its header nor its library is
// needed to build. nvjpeg_abi.cu holds them to the real header wherever that is there.
#pragma once

#include <cstddef>

namespace floodgate::cuda::nvjpeg {

using Handle = void*;
using State = void*;
using Stream = void*;  // a parsed JPEG
using CudaStream = void*;

inline constexpr int kSuccess = 0;
inline constexpr int kInvalidParameter = 2;
inline constexpr int kAllocatorFailure = 5;
inline constexpr int kExecutionFailed = 6;
inline constexpr int kInternalError = 8;
inline constexpr int kBackendGpuHybrid = 2;
inline constexpr int kBackendHardware = 3;
inline constexpr int kOutputRgbInterleaved = 5;
inline constexpr unsigned kBitstreamStrict = 1U << 2U;
inline constexpr unsigned kInterpolateChroma = 1U << 5U;
inline constexpr int kMajorVersion = 0;  // libraryPropertyType
inline constexpr int kMinorVersion = 1;
inline constexpr int kPatchLevel = 2;
inline constexpr int kMaxComponents = 4;

struct Image {
  unsigned char* channel[kMaxComponents];
  std::size_t pitch[kMaxComponents];
};

using GetProperty = int (*)(int property, int* value);
using CreateEx = int (*)(int backend, void* device_allocator, void* pinned_allocator, unsigned flags,
                         Handle* handle);
using Destroy = int (*)(Handle handle);
using StateCreate = int (*)(Handle handle, State* state);
using StateDestroy = int (*)(State state);
using StreamCreate = int (*)(Handle handle, Stream* stream);
using StreamDestroy = int (*)(Stream stream);
using StreamParseHeader = int (*)(Handle handle, const unsigned char* data, std::size_t length,
                                  Stream stream);
using StreamSize = int (*)(Stream stream, unsigned* width, unsigned* height);
using BatchedSupported = int (*)(Handle handle, Stream stream, int* unsupported);
using BatchedInitialize = int (*)(Handle handle, State state, int pictures, int threads, int format);
using DecodeBatched = int (*)(Handle handle, State state, const unsigned char* const* data,
                              const std::size_t* lengths, Image* pictures, CudaStream stream);
using DecodeOne = int (*)(Handle handle, State state, const unsigned char* data, std::size_t length,
                          int format, Image* picture, CudaStream stream);

}  // namespace floodgate::cuda::nvjpeg
