// nvJPEG's place taken by the CPU's own decoder, writing into an emulated device's memory. It can be told to
// refuse pictures of a width, to find no memory, or to fail.
#pragma once

#include <atomic>
#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include "cuda/jpeg_decoder.h"
#include "floodgate/decode.h"

namespace floodgate::testing {

struct EmulatedJpegFaults {
  std::atomic<std::uint32_t> refused_width{0};
  std::atomic<bool> no_memory{false};
  std::atomic<bool> fails{false};
  std::function<void()> before_decode;  // set while nothing is under way
};

class EmulatedJpegLibrary final : public cuda::JpegLibrary {
 public:
  explicit EmulatedJpegLibrary(const EmulatedJpegFaults& faults) : faults_(faults) {}
  [[nodiscard]] std::string version() const override { return "0.0.0"; }
  Result<std::unique_ptr<cuda::JpegDecoder>> make_decoder() override {
    return std::unique_ptr<cuda::JpegDecoder>(std::make_unique<Decoder>(faults_));
  }

 private:
  class Decoder final : public cuda::JpegDecoder {
   public:
    explicit Decoder(const EmulatedJpegFaults& faults) : faults_(faults) {}
    void decode(std::span<cuda::JpegPicture> pictures, void*) override {
      if (faults_.before_decode) faults_.before_decode();
      for (cuda::JpegPicture& picture : pictures) picture.outcome = decode_one(picture);
    }

   private:
    cuda::JpegOutcome decode_one(const cuda::JpegPicture& picture) const {
      if (faults_.fails) return cuda::JpegOutcome::kFailed;
      if (faults_.no_memory) return cuda::JpegOutcome::kNoMemory;
      auto info = probe(picture.encoded, {});
      if (!info.ok() || picture.width == faults_.refused_width) return cuda::JpegOutcome::kRefused;
      info.value().orientation = 1;  // as stored
      const auto decoded = decode_picture(picture.encoded, info.value(), {});
      if (!decoded.ok()) return cuda::JpegOutcome::kRefused;
      const std::size_t row = std::size_t{3} * picture.width;
      for (std::size_t y = 0; y < picture.height; ++y) {
        std::memcpy(picture.pixels + picture.pitch * y, decoded.value().rgb.get() + row * y, row);
      }
      return cuda::JpegOutcome::kDecoded;
    }
    const EmulatedJpegFaults& faults_;
  };
  const EmulatedJpegFaults& faults_;
};

}  // namespace floodgate::testing
