#include "row_filter.h"

#include <algorithm>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace floodgate {
namespace {

constexpr std::int32_t kHalf = 1 << (kPrecisionBits - 1);

std::uint8_t to_byte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

#if defined(__x86_64__)
constexpr int kLowBits = 15;
constexpr std::size_t kLoadBytes = 16;  // one load takes more than the 12 bytes of four pixels

bool has_avx2() {
  static const bool has = __builtin_cpu_supports("avx2") != 0;
  return has;
}
#endif

}  // namespace

RowFilter::RowFilter(const Kernel& kernel) : kernel_(kernel) {
#if defined(__x86_64__)
  if (!has_avx2()) return;
  first_group_.reserve(static_cast<std::size_t>(kernel.length()) + 1);
  for (std::int32_t i = 0; i < kernel.length(); ++i) {
    first_group_.push_back(static_cast<std::uint32_t>(groups_.size()));
    const std::int32_t* weights = kernel.weights(i);
    const std::int32_t count = kernel.taps(i).count;
    for (std::int32_t tap = 0; tap < count; tap += 4) {
      Group group{};  // taps past the last have no weight
      for (std::int32_t j = 0; j < std::min(4, count - tap); ++j) {
        const std::int32_t weight = weights[tap + j];
        group.low[j] = static_cast<std::int16_t>(weight & ((1 << kLowBits) - 1));
        group.high[j] = static_cast<std::int16_t>(weight >> kLowBits);
      }
      groups_.push_back(group);
    }
  }
  first_group_.push_back(static_cast<std::uint32_t>(groups_.size()));
#endif
}

void RowFilter::apply(std::span<const std::uint8_t> row, std::int32_t origin, std::uint8_t* out) const {
  const std::int32_t done = first_group_.empty() ? 0 : in_fours(row, origin, out);
  plain(row, origin, done, out + std::ptrdiff_t{3} * done);
}

// From output pixel `from` on.
void RowFilter::plain(std::span<const std::uint8_t> row, std::int32_t origin, std::int32_t from,
                      std::uint8_t* out) const {
  for (std::int32_t x = from; x < kernel_.length(); ++x) {
    const Taps taps = kernel_.taps(x);
    const std::int32_t* weights = kernel_.weights(x);
    const std::uint8_t* pixel = row.data() + std::ptrdiff_t{3} * (taps.first - origin);
    std::int32_t red = kHalf;
    std::int32_t green = kHalf;
    std::int32_t blue = kHalf;
    for (std::int32_t i = 0; i < taps.count; ++i, pixel += 3) {
      red += pixel[0] * weights[i];
      green += pixel[1] * weights[i];
      blue += pixel[2] * weights[i];
    }
    out[0] = to_byte(red);
    out[1] = to_byte(green);
    out[2] = to_byte(blue);
    out += 3;
  }
}

#if defined(__x86_64__)

// Output pixels from the first on, as far as a load stays inside the row; returns how many.
//
// A half of the register holds the samples of two pixels side by side, channel by channel, so that one
// multiply-add gives the two taps' sum for each channel. Sums of the low halves may wrap round: only their
// total counts, it fits 32 bits, and arithmetic modulo 2^32 gets it right.
__attribute__((target("avx2"))) std::int32_t RowFilter::in_fours(std::span<const std::uint8_t> row,
                                                                 std::int32_t origin,
                                                                 std::uint8_t* out) const {
  constexpr char kNone = -1;
  const __m256i side_by_side = _mm256_setr_epi8(0, kNone, 3, kNone, 1, kNone, 4, kNone, 2, kNone, 5, kNone,
                                                kNone, kNone, kNone, kNone, 6, kNone, 9, kNone, 7, kNone, 10,
                                                kNone, 8, kNone, 11, kNone, kNone, kNone, kNone, kNone);
  const __m256i low_pairs = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
  const __m256i high_pairs = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
  const __m128i half = _mm_set1_epi32(kHalf);
  const std::int32_t length = kernel_.length();
  for (std::int32_t x = 0; x < length; ++x) {
    const auto at = static_cast<std::size_t>(x);
    const std::size_t first = std::size_t{3} * static_cast<std::size_t>(kernel_.taps(x).first - origin);
    const std::uint32_t begin = first_group_[at];
    const std::uint32_t end = first_group_[at + 1];
    const std::size_t read = begin == end ? 0 : std::size_t{12} * (end - begin - 1) + kLoadBytes;
    if (first + read > row.size()) return x;
    const std::uint8_t* pixels = row.data() + first;
    __m256i low = _mm256_setzero_si256();
    __m256i high = _mm256_setzero_si256();
    for (std::uint32_t i = begin; i < end; ++i, pixels += 12) {
      const __m256i samples = _mm256_shuffle_epi8(
          _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pixels))),
          side_by_side);
      const __m256i weights =
          _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(&groups_[i])));
      low =
          _mm256_add_epi32(low, _mm256_madd_epi16(samples, _mm256_permutevar8x32_epi32(weights, low_pairs)));
      high = _mm256_add_epi32(high,
                              _mm256_madd_epi16(samples, _mm256_permutevar8x32_epi32(weights, high_pairs)));
    }
    const __m256i both = _mm256_add_epi32(low, _mm256_slli_epi32(high, kLowBits));
    const __m128i sum =
        _mm_add_epi32(half, _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1)));
    const __m128i words = _mm_srai_epi32(sum, kPrecisionBits);
    const __m128i shorts = _mm_packs_epi32(words, words);
    const auto rgb = static_cast<std::uint32_t>(_mm_cvtsi128_si32(_mm_packus_epi16(shorts, shorts)));
    out[0] = static_cast<std::uint8_t>(rgb);
    out[1] = static_cast<std::uint8_t>(rgb >> 8);
    out[2] = static_cast<std::uint8_t>(rgb >> 16);
    out += 3;
  }
  return length;
}

#else

std::int32_t RowFilter::in_fours(std::span<const std::uint8_t>, std::int32_t, std::uint8_t*) const {
  return 0;
}

#endif

}  // namespace floodgate
