// High dynamic range (BT.2100 PQ and HLG) to the standard range of a picture (sRGB).
//
// Light is linearised, its luminance brought under the reference white of 203 cd/m² by the curve of ITU-R
// BT.2390, its colours from BT.2020 to BT.709, and coded with sRGB's curve. Tables are made once for a peak.
// Thread rule: const calls may run at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace floodgate {

enum class HdrTransfer : std::uint8_t { kPq, kHlg };

class ToneMap {
 public:
  // `peak_nits`: the brightest light of the content, cd/m²; out of range: 1000. HLG is shown at 1000.
  ToneMap(HdrTransfer transfer, double peak_nits, bool wide_gamut);

  [[nodiscard]] bool serves(HdrTransfer transfer, double peak_nits, bool wide_gamut) const;

  // `pixels` pixels of three 16-bit samples R'G'B', full range, to three bytes.
  void map(const std::uint16_t* rgb48, std::uint8_t* rgb, std::size_t pixels) const;

 private:
  [[nodiscard]] float gain(float luminance) const;

  const HdrTransfer transfer_;
  const double peak_nits_;
  const bool wide_gamut_;
  std::vector<float> linear_;        // by the upper 12 bits of a sample; 1 is the peak
  std::vector<float> gains_;         // by the exponent and upper mantissa bits of the luminance
  std::vector<std::uint8_t> coded_;  // by linear light, 1 the reference white
};

}  // namespace floodgate
