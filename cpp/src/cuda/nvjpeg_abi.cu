// Holds nvjpeg_abi.h to NVIDIA's header where there is one.
#include "nvjpeg_abi.h"

#if __has_include(<nvjpeg.h>)
#include <nvjpeg.h>

#include <type_traits>

namespace floodgate::cuda::nvjpeg {
namespace {

static_assert(kSuccess == NVJPEG_STATUS_SUCCESS && kInvalidParameter == NVJPEG_STATUS_INVALID_PARAMETER &&
              kAllocatorFailure == NVJPEG_STATUS_ALLOCATOR_FAILURE &&
              kExecutionFailed == NVJPEG_STATUS_EXECUTION_FAILED &&
              kInternalError == NVJPEG_STATUS_INTERNAL_ERROR);
static_assert(kBackendGpuHybrid == NVJPEG_BACKEND_GPU_HYBRID && kBackendHardware == NVJPEG_BACKEND_HARDWARE &&
              kOutputRgbInterleaved == NVJPEG_OUTPUT_RGBI);
static_assert(kBitstreamStrict == (NVJPEG_FLAGS_BITSTREAM_STRICT) &&
              kInterpolateChroma == (NVJPEG_FLAGS_UPSAMPLING_WITH_INTERPOLATION));
static_assert(kMajorVersion == MAJOR_VERSION && kMinorVersion == MINOR_VERSION && kPatchLevel == PATCH_LEVEL);
static_assert(kMaxComponents == NVJPEG_MAX_COMPONENT && sizeof(Image) == sizeof(nvjpegImage_t) &&
              offsetof(Image, pitch) == offsetof(nvjpegImage_t, pitch));

// Whether a function of ours takes as many arguments of the same sizes as NVIDIA's.
template <typename Ours, typename Theirs>
struct SameCall : std::false_type {};
template <typename... Our, typename... Their>
requires(sizeof...(Our) == sizeof...(Their)) struct SameCall<int (*)(Our...), nvjpegStatus_t(Their...)>
    : std::bool_constant<((sizeof(Our) == sizeof(Their) &&
                           std::is_pointer_v<Our> == std::is_pointer_v<Their>)&&...) &&
                         sizeof(nvjpegStatus_t) == sizeof(int)> {
};

static_assert(SameCall<GetProperty, decltype(nvjpegGetProperty)>::value);
static_assert(SameCall<CreateEx, decltype(nvjpegCreateEx)>::value);
static_assert(SameCall<Destroy, decltype(nvjpegDestroy)>::value);
static_assert(SameCall<StateCreate, decltype(nvjpegJpegStateCreate)>::value);
static_assert(SameCall<StateDestroy, decltype(nvjpegJpegStateDestroy)>::value);
static_assert(SameCall<StreamCreate, decltype(nvjpegJpegStreamCreate)>::value);
static_assert(SameCall<StreamDestroy, decltype(nvjpegJpegStreamDestroy)>::value);
static_assert(SameCall<StreamParseHeader, decltype(nvjpegJpegStreamParseHeader)>::value);
static_assert(SameCall<StreamSize, decltype(nvjpegJpegStreamGetFrameDimensions)>::value);
static_assert(SameCall<BatchedSupported, decltype(nvjpegDecodeBatchedSupported)>::value);
static_assert(SameCall<BatchedInitialize, decltype(nvjpegDecodeBatchedInitialize)>::value);
static_assert(SameCall<DecodeBatched, decltype(nvjpegDecodeBatched)>::value);
static_assert(SameCall<DecodeOne, decltype(nvjpegDecode)>::value);

}  // namespace
}  // namespace floodgate::cuda::nvjpeg
#endif
