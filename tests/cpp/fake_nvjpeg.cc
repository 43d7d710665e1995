#include "fake_nvjpeg.h"

#include "cuda/nvjpeg_abi.h"

#define EXPORTED extern "C" __attribute__((visibility("default")))

using namespace floodgate::cuda::nvjpeg;  // NOLINT(google-build-using-namespace)

EXPORTED floodgate::testing::FakeNvjpeg fake_nvjpeg;
floodgate::testing::FakeNvjpeg fake_nvjpeg;

namespace {

int some = 0;

int made(void** handle) {
  *handle = &some;
  return kSuccess;
}

}  // namespace

EXPORTED int nvjpegGetProperty(int property, int* value) {
  *value = 10 + property;
  return kSuccess;
}
EXPORTED int nvjpegCreateEx(int backend, void*, void*, unsigned flags, Handle* handle) {
  int status = flags != 0 ? fake_nvjpeg.with_flags : fake_nvjpeg.without_flags;
  if (backend == kBackendHardware && fake_nvjpeg.hardware != kSuccess) status = fake_nvjpeg.hardware;
  return status == kSuccess ? made(handle) : status;
}
EXPORTED int nvjpegDestroy(Handle) { return kSuccess; }
EXPORTED int nvjpegJpegStateCreate(Handle, State* state) { return made(state); }
EXPORTED int nvjpegJpegStateDestroy(State) { return kSuccess; }
EXPORTED int nvjpegJpegStreamCreate(Handle, Stream* stream) { return made(stream); }
EXPORTED int nvjpegJpegStreamDestroy(Stream) { return kSuccess; }
EXPORTED int nvjpegJpegStreamParseHeader(Handle, const unsigned char*, std::size_t, Stream) {
  return kSuccess;
}
EXPORTED int nvjpegJpegStreamGetFrameDimensions(Stream, unsigned* width, unsigned* height) {
  *width = *height = 8;
  return kSuccess;
}
EXPORTED int nvjpegDecodeBatchedSupported(Handle, Stream, int* unsupported) {
  *unsupported = 0;
  return kSuccess;
}
EXPORTED int nvjpegDecodeBatchedInitialize(Handle, State, int, int, int) { return kSuccess; }
EXPORTED int nvjpegDecodeBatched(Handle, State, const unsigned char* const*, const std::size_t*, Image*,
                                 CudaStream) {
  return fake_nvjpeg.batch;
}
EXPORTED int nvjpegDecode(Handle, State, const unsigned char* data, std::size_t, int, Image*, CudaStream) {
  ++fake_nvjpeg.singles;
  return data[0] == fake_nvjpeg.bad ? kExecutionFailed : static_cast<int>(fake_nvjpeg.single);
}
