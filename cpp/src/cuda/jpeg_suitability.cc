#include <algorithm>
#include <array>

#include "jpeg_decoder.h"

namespace floodgate::cuda {
namespace {

constexpr std::uint8_t kBaseline = 0xC0;
constexpr std::uint8_t kExtended = 0xC1;  // 8 bits a sample: as baseline, with more tables
constexpr std::uint8_t kStartOfScan = 0xDA;
constexpr std::uint8_t kEndOfImage = 0xD9;
constexpr std::uint8_t kAdobe = 0xEE;
constexpr std::size_t kFrameBytes = 6;      // of a frame header before its components
constexpr std::size_t kComponentBytes = 3;  // of each
constexpr std::size_t kTrailingZeros = 64;  // padding after the end that is looked through

// Frame headers other than these are progressive, lossless, hierarchical or arithmetic.
bool is_frame(std::uint8_t marker) {
  return marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
}

bool is_whole(std::span<const std::uint8_t> encoded) {
  std::size_t end = encoded.size();
  for (std::size_t i = 0; i < kTrailingZeros && end > 0 && encoded[end - 1] == 0; ++i) --end;
  return end >= 2 && encoded[end - 2] == 0xFF && encoded[end - 1] == kEndOfImage;
}

// Grey, or YCbCr: not "RGB" by its component ids, which libjpeg takes for what they say.
bool has_usual_colours(std::span<const std::uint8_t> frame) {
  if (frame.size() < kFrameBytes || frame[0] != 8) return false;
  const std::size_t components = frame[5];
  if (components != 1 && components != 3) return false;
  if (frame.size() < kFrameBytes + kComponentBytes * components) return false;
  constexpr std::array<std::uint8_t, 3> kRgb = {'R', 'G', 'B'};
  for (std::size_t i = 0; i < components; ++i) {
    if (components == 1 || frame[kFrameBytes + kComponentBytes * i] != kRgb[i]) return true;
  }
  return false;
}

bool says_rgb(std::span<const std::uint8_t> adobe) {
  constexpr std::array<std::uint8_t, 5> kName = {'A', 'd', 'o', 'b', 'e'};
  constexpr std::size_t kTransform = 11;
  return adobe.size() > kTransform && std::equal(kName.begin(), kName.end(), adobe.begin()) &&
         adobe[kTransform] != 1;
}

}  // namespace

bool suits_device(std::span<const std::uint8_t> encoded) {
  if (encoded.size() < 4 || encoded[0] != 0xFF || encoded[1] != 0xD8 || !is_whole(encoded)) return false;
  bool frame_suits = false;
  bool grey = false;
  bool rgb = false;
  std::size_t at = 2;
  while (at + 4 <= encoded.size()) {
    if (encoded[at] != 0xFF) return false;
    const std::uint8_t marker = encoded[at + 1];
    if (marker == 0xFF) {  // fill
      ++at;
      continue;
    }
    const std::size_t length = std::size_t{encoded[at + 2]} << 8U | encoded[at + 3];
    if (length < 2 || at + 2 + length > encoded.size()) return false;
    const auto payload = encoded.subspan(at + 4, length - 2);
    if (is_frame(marker)) {
      if ((marker != kBaseline && marker != kExtended) || frame_suits) return false;
      if (!has_usual_colours(payload)) return false;
      frame_suits = true;
      grey = payload[5] == 1;
    } else if (marker == kAdobe) {
      rgb = rgb || says_rgb(payload);
    } else if (marker == kStartOfScan) {
      // One scan of all components: more are decoded as progressive ones are.
      return frame_suits && !payload.empty() && payload[0] == (grey ? 1 : 3) && (grey || !rgb);
    }
    at += 2 + length;
  }
  return false;
}

}  // namespace floodgate::cuda
