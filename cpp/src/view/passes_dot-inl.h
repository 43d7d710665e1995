// The passes by vpdpbusd, which adds four products of bytes at once. Included by passes.cc; see passes.h.
//
// A weight is three balanced digits to the base 256; each digit's sum is kept apart and all are joined at the
// end. Sums may wrap round on the way: only the total counts, and that fits.

// No include guard: once for each instruction set that passes.cc is compiled for.
#include <immintrin.h>

HWY_BEFORE_NAMESPACE();
namespace floodgate::HWY_NAMESPACE {
namespace {

// Highway's target lacks avx512vnni, and Clang takes an attribute instead of what the target has.
#define FLOODGATE_DOT __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))

FLOODGATE_DOT inline __m512i four_weights(const std::uint8_t* weights) {
  std::int32_t four;
  std::memcpy(&four, weights, sizeof four);
  return _mm512_set1_epi32(four);
}

// Whole sums of the three digits' sums.
FLOODGATE_DOT inline __m512i joined(__m512i sum0, __m512i sum1, __m512i sum2) {
  const __m512i sum =
      _mm512_add_epi32(_mm512_add_epi32(sum0, _mm512_slli_epi32(sum1, 8)), _mm512_slli_epi32(sum2, 16));
  return _mm512_srai_epi32(sum, kPrecisionBits);
}

// One output pixel of four rows: R G B and a meaningless fourth, 32 bits each.
FLOODGATE_DOT inline __m512i dot_pixel(const std::uint8_t* quads, std::size_t groups,
                                       const std::uint8_t* weights) {
  __m512i sum0 = _mm512_set1_epi32(kHalf);
  __m512i sum1 = _mm512_setzero_si512();
  __m512i sum2 = _mm512_setzero_si512();
  for (std::size_t g = 0; g < groups; ++g, quads += kQuadBytes, weights += 12) {
    const __m512i samples = _mm512_load_si512(quads);
    sum0 = _mm512_dpbusd_epi32(sum0, samples, four_weights(weights));
    sum1 = _mm512_dpbusd_epi32(sum1, samples, four_weights(weights + 4));
    sum2 = _mm512_dpbusd_epi32(sum2, samples, four_weights(weights + 8));
  }
  return joined(sum0, sum1, sum2);
}

// Four output pixels at a time. `kGroups`: the number of groups where it is known, so that the loop over them
// unrolls; else 0.
template <std::size_t kGroups>
FLOODGATE_DOT void dot_rows(const std::uint8_t* quads, const std::uint32_t* first_quad,
                            std::size_t any_groups, const std::uint8_t* weights, std::size_t length,
                            std::uint8_t* const* out) {
  const std::size_t groups = kGroups != 0 ? kGroups : any_groups;
  const std::size_t step = 12 * groups;
  const __m512i without_fourth =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
  std::uint8_t* out0 = out[0];
  std::uint8_t* out1 = out[1];
  std::uint8_t* out2 = out[2];
  std::uint8_t* out3 = out[3];
  for (std::size_t x = 0; x < length; x += 4, weights += 4 * step) {
    const __m512i p0 = dot_pixel(quads + kQuadBytes * first_quad[x], groups, weights);
    const __m512i p1 = dot_pixel(quads + kQuadBytes * first_quad[x + 1], groups, weights + step);
    const __m512i p2 = dot_pixel(quads + kQuadBytes * first_quad[x + 2], groups, weights + 2 * step);
    const __m512i p3 = dot_pixel(quads + kQuadBytes * first_quad[x + 3], groups, weights + 3 * step);
    const __m512i bytes = _mm512_shuffle_epi8(
        _mm512_packus_epi16(_mm512_packs_epi32(p0, p1), _mm512_packs_epi32(p2, p3)), without_fourth);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out0), _mm512_castsi512_si128(bytes));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out1), _mm512_extracti32x4_epi32(bytes, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out2), _mm512_extracti32x4_epi32(bytes, 2));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out3), _mm512_extracti32x4_epi32(bytes, 3));
    out0 += 12;
    out1 += 12;
    out2 += 12;
    out3 += 12;
  }
}

void dot_filter_rows(const std::uint8_t* quads, const std::uint32_t* first_quad, std::size_t groups,
                     const std::uint8_t* weights, std::size_t length, std::uint8_t* const* out) {
  switch (groups) {
    case 1:
      return dot_rows<1>(quads, first_quad, groups, weights, length, out);
    case 2:
      return dot_rows<2>(quads, first_quad, groups, weights, length, out);
    case 3:
      return dot_rows<3>(quads, first_quad, groups, weights, length, out);
    case 4:
      return dot_rows<4>(quads, first_quad, groups, weights, length, out);
    default:
      return dot_rows<0>(quads, first_quad, groups, weights, length, out);
  }
}

// 64 samples at a time: of four rows, their bytes side by side.
FLOODGATE_DOT void dot_filter_columns(const std::uint8_t* const* rows, std::size_t groups,
                                      const std::uint8_t* weights, std::size_t bytes, std::uint8_t* out) {
  for (std::size_t x = 0; x < bytes; x += 64) {
    const __m512i zero = _mm512_setzero_si512();
    const __m512i half = _mm512_set1_epi32(kHalf);
    __m512i a0 = half, b0 = half, c0 = half, d0 = half;
    __m512i a1 = zero, b1 = zero, c1 = zero, d1 = zero;
    __m512i a2 = zero, b2 = zero, c2 = zero, d2 = zero;
    const std::uint8_t* const* row = rows;
    const std::uint8_t* packed = weights;
    for (std::size_t g = 0; g < groups; ++g, row += 4, packed += 12) {
      const __m512i r0 = _mm512_loadu_si512(row[0] + x);
      const __m512i r1 = _mm512_loadu_si512(row[1] + x);
      const __m512i r2 = _mm512_loadu_si512(row[2] + x);
      const __m512i r3 = _mm512_loadu_si512(row[3] + x);
      const __m512i low01 = _mm512_unpacklo_epi8(r0, r1);
      const __m512i high01 = _mm512_unpackhi_epi8(r0, r1);
      const __m512i low23 = _mm512_unpacklo_epi8(r2, r3);
      const __m512i high23 = _mm512_unpackhi_epi8(r2, r3);
      const __m512i a = _mm512_unpacklo_epi16(low01, low23);
      const __m512i b = _mm512_unpackhi_epi16(low01, low23);
      const __m512i c = _mm512_unpacklo_epi16(high01, high23);
      const __m512i d = _mm512_unpackhi_epi16(high01, high23);
      const __m512i w0 = four_weights(packed);
      const __m512i w1 = four_weights(packed + 4);
      const __m512i w2 = four_weights(packed + 8);
      a0 = _mm512_dpbusd_epi32(a0, a, w0);
      a1 = _mm512_dpbusd_epi32(a1, a, w1);
      a2 = _mm512_dpbusd_epi32(a2, a, w2);
      b0 = _mm512_dpbusd_epi32(b0, b, w0);
      b1 = _mm512_dpbusd_epi32(b1, b, w1);
      b2 = _mm512_dpbusd_epi32(b2, b, w2);
      c0 = _mm512_dpbusd_epi32(c0, c, w0);
      c1 = _mm512_dpbusd_epi32(c1, c, w1);
      c2 = _mm512_dpbusd_epi32(c2, c, w2);
      d0 = _mm512_dpbusd_epi32(d0, d, w0);
      d1 = _mm512_dpbusd_epi32(d1, d, w1);
      d2 = _mm512_dpbusd_epi32(d2, d, w2);
    }
    // Packing undoes the interleaving.
    const __m512i low = _mm512_packs_epi32(joined(a0, a1, a2), joined(b0, b1, b2));
    const __m512i high = _mm512_packs_epi32(joined(c0, c1, c2), joined(d0, d1, d2));
    _mm512_storeu_si512(out + x, _mm512_packus_epi16(low, high));
  }
}

#undef FLOODGATE_DOT

}  // namespace
}  // namespace floodgate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
