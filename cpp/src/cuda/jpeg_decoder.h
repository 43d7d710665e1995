// Decoding many JPEGs at once into device memory: nvJPEG, or what tests put in its place.
//
// A decoder belongs to one stream. Each picture has an outcome of its own: one that is refused never harms
// its neighbours. Memory: encoded bytes are borrowed for the call; surfaces are the caller's, and written
// until the stream has passed the call. Thread rule: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "floodgate/status.h"

namespace floodgate::cuda {

enum class JpegOutcome : std::uint8_t {
  kDecoded,
  kRefused,   // not this picture: damaged, unusual, another size than was said
  kNoMemory,  // the library found none
  kFailed,    // something failed inside: this picture is to blame, or the device, which knows
};

struct JpegPicture {
  std::span<const std::uint8_t> encoded;
  std::uint32_t width = 0;  // as probed
  std::uint32_t height = 0;
  std::uint8_t* pixels = nullptr;  // device: interleaved RGB, upright or not as stored
  std::size_t pitch = 0;
  JpegOutcome outcome = JpegOutcome::kRefused;
};

class JpegDecoder {
 public:
  virtual ~JpegDecoder() = default;
  virtual void decode(std::span<JpegPicture> pictures, void* stream) = 0;
};

// Makes decoders, one a stream.
class JpegLibrary {
 public:
  virtual ~JpegLibrary() = default;
  // "13.0.1", and once there is a decoder whatever else makes its pixels others than they might be.
  [[nodiscard]] virtual std::string version() const = 0;
  // Errors: kUnavailable (the library cannot work with this device). REQUIRES: the device is in use. Thread
  // rule: one thread at a time.
  virtual Result<std::unique_ptr<JpegDecoder>> make_decoder() = 0;
};

// Loads nvJPEG. `path` empty: libnvjpeg.so.13, then libnvjpeg.so.12, as the loader finds them. Errors:
// kUnavailable (not there, or not what it says).
Result<std::unique_ptr<JpegLibrary>> load_nvjpeg(const std::string& path);

// Whether a JPEG is one that nvJPEG decodes as libjpeg does: baseline, 8 bits, grey or YCbCr, whole. What is
// progressive takes long in ways that its header does not tell, and is left to the sandbox.
bool suits_device(std::span<const std::uint8_t> encoded);

}  // namespace floodgate::cuda
