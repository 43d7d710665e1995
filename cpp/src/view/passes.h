// The two passes of a resize as functions over whole rows, one set for each instruction set.
//
// All arithmetic is exact modulo 2^32 and every sum fits 32 bits, so each set gives the same bits as the
// plain loops in reference.cc. Samples are 8-bit RGB. Rows handed in or out have kPadBytes of slack behind
// them that may be read and overwritten. Thread rule: stateless.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace floodgate {

inline constexpr std::size_t kRowsAtOnce = 4;  // by the horizontal pass
inline constexpr std::size_t kGroupTaps = 4;   // taps share a group of packed weights
inline constexpr std::size_t kPadBytes = 64;
// Four pixels of four rows, 16 bytes for each row, in an order that each set chooses.
inline constexpr std::size_t kQuadBytes = 64;

// What every packed form holds. Of Pillow's filters Lanczos has the largest weight, 1.29 at the edge of a
// picture two pixels wide, which is 5.4 million.
inline constexpr std::int32_t kMaxWeight = 8'000'000;

// How the four weights of a group are packed.
enum class WeightForm : std::uint8_t {
  kWhole,   // 4 x int32
  kHalves,  // w = high * 2^15 + low: 4 x int16 low, 4 x int16 high
  kDigits,  // w = d2 * 2^16 + d1 * 2^8 + d0, each -128..127: 4 x int8 for each digit
};

constexpr std::size_t group_bytes(WeightForm form) { return form == WeightForm::kDigits ? 12 : 16; }

struct PassFunctions {
  WeightForm form;

  // Gathers `pixels` RGB pixels of each of four rows, which need no slack, into quads.
  // `quads`: kQuadBytes * ceil(pixels / 4), aligned to 64 bytes.
  void (*gather)(const std::uint8_t* const* rows, std::size_t pixels, std::uint8_t* quads);

  // The horizontal pass over four rows: output pixel x is the sum over `groups` quads from first_quad[x] on.
  // `weights`: packed groups, `groups` for each pixel. Computes `length` pixels rounded up to a multiple of
  // four, for which first_quad and weights must exist too.
  void (*filter_rows)(const std::uint8_t* quads, const std::uint32_t* first_quad, std::size_t groups,
                      const std::uint8_t* weights, std::size_t length, std::uint8_t* const* out);

  // The vertical pass for one output row: the sum of 4 * groups rows, `bytes` samples each.
  void (*filter_columns)(const std::uint8_t* const* rows, std::size_t groups, const std::uint8_t* weights,
                         std::size_t bytes, std::uint8_t* out);

  // RGBA pixels over `background` into RGB: (background * (255 - a) + v * a) / 255 to nearest, as Pillow's
  // Image.paste(im, mask=alpha). Neither side needs slack.
  void (*composite)(const std::uint8_t* rgba, std::size_t pixels,
                    const std::array<std::uint8_t, 3>& background, std::uint8_t* rgb);

  // RGBA pixels without their alpha.
  void (*drop_alpha)(const std::uint8_t* rgba, std::size_t pixels, std::uint8_t* rgb);

  // RGB pixels as BGR ones. Neither side needs slack.
  void (*reverse)(const std::uint8_t* rgb, std::size_t pixels, std::uint8_t* bgr);

  // RGB pixels as three planes, R, G, B. Neither side needs slack.
  void (*split)(const std::uint8_t* rgb, std::size_t pixels, std::uint8_t* const* planes);
};

// The best set for this processor.
const PassFunctions& pass_functions();

}  // namespace floodgate
