// The passes in Highway's portable vectors. Included by passes.cc; see passes.h.
//
// A weight is split into halves, w = high * 2^15 + low, that fit the 16 bits which multiply-add instructions
// take. Sums may wrap round on the way: only the total counts, and that fits.

// No include guard: once for each instruction set that passes.cc is compiled for.
HWY_BEFORE_NAMESPACE();
namespace floodgate::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using D8 = hn::CappedTag<std::uint8_t, kQuadBytes>;
using D16 = hn::Repartition<std::int16_t, D8>;
using D32 = hn::Repartition<std::int32_t, D8>;
using V8 = hn::Vec<D8>;
using V16 = hn::Vec<D16>;
using V32 = hn::Vec<D32>;
using Block = hn::FixedTag<std::uint8_t, 16>;

constexpr std::uint8_t kNone = 0x80;  // TableLookupBytesOr0 gives 0

// The lower or upper eight bytes of each 16-byte block, widened.
HWY_INLINE V16 lower_words(V8 bytes) {
  const D8 d8;
  return hn::BitCast(D16(), hn::InterleaveLower(d8, bytes, hn::Zero(d8)));
}
HWY_INLINE V16 upper_words(V8 bytes) {
  const D8 d8;
  return hn::BitCast(D16(), hn::InterleaveUpper(d8, bytes, hn::Zero(d8)));
}

// `table`: 16 bytes, the same for every block.
HWY_INLINE V8 every_block(const std::uint8_t* table) { return hn::LoadDup128(D8(), table); }

HWY_INLINE V8 pick(V16 from, V8 table) { return hn::TableLookupBytesOr0(hn::BitCast(D8(), from), table); }

// In each block the low bytes of `a`, then those of `b`.
HWY_INLINE V8 low_bytes(V16 a, V16 b) {
  alignas(16) static constexpr std::uint8_t kFront[16] = {
      0, 2, 4, 6, 8, 10, 12, 14, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone};
  alignas(16) static constexpr std::uint8_t kBack[16] = {
      kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, 0, 2, 4, 6, 8, 10, 12, 14};
  return hn::Or(pick(a, every_block(kFront)), pick(b, every_block(kBack)));
}

HWY_INLINE void gather_quad(const std::uint8_t* pixels, hn::Vec<Block> table, std::uint8_t* quad) {
  const Block block;
  hn::Store(hn::TableLookupBytesOr0(hn::LoadU(block, pixels), table), block, quad);
}

void gather(const std::uint8_t* const* rows, std::size_t pixels, std::uint8_t* quads) {
#if HWY_TARGET == HWY_AVX3_DL
  // What a dot product of four bytes takes: R R R R G G G G B B B B - - - -.
  alignas(16) static constexpr std::uint8_t kPlanes[16] = {0, 3, 6, 9,  1,     4,     7,     10,
                                                           2, 5, 8, 11, kNone, kNone, kNone, kNone};
#else
  // What a multiply-add of two words takes, of two pixels and of the others: R R G G B B - -, R R G G B B -
  // -.
  alignas(16) static constexpr std::uint8_t kPlanes[16] = {0, 3, 1, 4,  2, 5,  kNone, kNone,
                                                           6, 9, 7, 10, 8, 11, kNone, kNone};
#endif
  const hn::Vec<Block> table = hn::Load(Block(), kPlanes);
  const std::size_t count = (pixels + 3) / 4;
  // A load takes 16 bytes, four more than four pixels have.
  const std::size_t inside = 3 * pixels < 16 ? 0 : (3 * pixels - 16) / 12 + 1;
  const std::uint8_t* r0 = rows[0];
  const std::uint8_t* r1 = rows[1];
  const std::uint8_t* r2 = rows[2];
  const std::uint8_t* r3 = rows[3];
  for (std::size_t q = 0; q < inside; ++q) {
    std::uint8_t* quad = quads + kQuadBytes * q;
    gather_quad(r0 + 12 * q, table, quad);
    gather_quad(r1 + 12 * q, table, quad + 16);
    gather_quad(r2 + 12 * q, table, quad + 32);
    gather_quad(r3 + 12 * q, table, quad + 48);
  }
  for (std::size_t q = inside; q < count; ++q) {
    for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
      std::uint8_t last[16] = {};
      std::memcpy(last, rows[r] + 12 * q, std::min<std::size_t>(12, 3 * pixels - 12 * q));
      gather_quad(last, table, quads + kQuadBytes * q + 16 * r);
    }
  }
}

#if HWY_TARGET != HWY_AVX3_DL  // which has its own, in passes_dot-inl.h

constexpr int kLowBits = 15;

// Lane i: a[2i] * b[2i] + a[2i+1] * b[2i+1].
HWY_INLINE V32 pair_sums(V16 a, V16 b) {
  const D32 d32;
  V32 odd = hn::Zero(d32);
  const V32 even = hn::ReorderWidenMulAccumulate(d32, a, b, hn::Zero(d32), odd);
  return hn::RearrangeToOddPlusEven(even, odd);
}

// The sums of the two halves, rounded.
HWY_INLINE V32 rounded(V32 low, V32 high) {
  const V32 sum = hn::Add(hn::Add(low, hn::ShiftLeft<kLowBits>(high)), hn::Set(D32(), kHalf));
  return hn::ShiftRight<kPrecisionBits>(sum);
}

// Rounded sums as samples, 0..255 in 16 bits: in each block those of `a`, then those of `b`.
HWY_INLINE V16 samples_of(V32 a, V32 b) {
  const D16 d16;
  const V16 words = hn::ReorderDemote2To(d16, a, b);
  return hn::Min(hn::Max(words, hn::Zero(d16)), hn::Set(d16, std::int16_t{255}));
}

HWY_INLINE V16 two_weights(const std::uint8_t* weights) {
  std::int32_t two;
  std::memcpy(&two, weights, sizeof two);
  return hn::BitCast(D16(), hn::Set(D32(), two));
}

// One output pixel of as many rows as a vector has blocks: in each block R, G, B and a meaningless fourth.
HWY_INLINE V32 filter_pixel(const std::uint8_t* quads, std::size_t groups, const std::uint8_t* weights) {
  V32 low = hn::Zero(D32());
  V32 high = hn::Zero(D32());
  // A group holds its four low halves, then its four high ones.
  for (std::size_t g = 0; g < groups; ++g, quads += kQuadBytes, weights += 16) {
    const V8 samples = hn::Load(D8(), quads);
    const V16 first = lower_words(samples);
    const V16 second = upper_words(samples);
    low = hn::Add(low, pair_sums(first, two_weights(weights)));
    high = hn::Add(high, pair_sums(first, two_weights(weights + 8)));
    low = hn::Add(low, pair_sums(second, two_weights(weights + 4)));
    high = hn::Add(high, pair_sums(second, two_weights(weights + 12)));
  }
  return rounded(low, high);
}

void filter_rows(const std::uint8_t* quads, const std::uint32_t* first_quad, std::size_t groups,
                 const std::uint8_t* weights, std::size_t length, std::uint8_t* const* out) {
  // Of two pixels in 16-bit samples, the six low bytes that mean something.
  alignas(16) static constexpr std::uint8_t kFront[16] = {
      0, 2, 4, 8, 10, 12, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone, kNone};
  alignas(16) static constexpr std::uint8_t kBack[16] = {kNone, kNone, kNone, kNone, kNone, kNone, 0,    2, 4,
                                                         8,     10,    12,    kNone, kNone, kNone, kNone};
  const D8 d8;
  const std::size_t step = 16 * groups;
  const std::size_t rows_in_vector = hn::Lanes(d8) / 16;
  for (std::size_t r = 0; r < kRowsAtOnce; r += rows_in_vector) {
    const std::uint8_t* const from = quads + 16 * r;
    const std::uint8_t* packed = weights;
    for (std::size_t x = 0; x < length; x += 4, packed += 4 * step) {
      const V32 p0 = filter_pixel(from + kQuadBytes * first_quad[x], groups, packed);
      const V32 p1 = filter_pixel(from + kQuadBytes * first_quad[x + 1], groups, packed + step);
      const V32 p2 = filter_pixel(from + kQuadBytes * first_quad[x + 2], groups, packed + 2 * step);
      const V32 p3 = filter_pixel(from + kQuadBytes * first_quad[x + 3], groups, packed + 3 * step);
      const V8 pixels =
          hn::Or(pick(samples_of(p0, p1), every_block(kFront)), pick(samples_of(p2, p3), every_block(kBack)));
      alignas(64) std::uint8_t blocks[kQuadBytes];
      hn::Store(pixels, d8, blocks);
      for (std::size_t i = 0; i < rows_in_vector; ++i) {
        hn::StoreU(hn::Load(Block(), blocks + 16 * i), Block(), out[r + i] + 3 * x);
      }
    }
  }
}

void filter_columns(const std::uint8_t* const* rows, std::size_t groups, const std::uint8_t* weights,
                    std::size_t bytes, std::uint8_t* out) {
  const D8 d8;
  const D32 d32;
  for (std::size_t x = 0; x < bytes; x += hn::Lanes(d8)) {
    // Sums of samples 0-3, 4-7, 8-11 and 12-15 of each block.
    V32 low0 = hn::Zero(d32), low1 = low0, low2 = low0, low3 = low0;
    V32 high0 = low0, high1 = low0, high2 = low0, high3 = low0;
    for (std::size_t pair = 0; pair < 2 * groups; ++pair) {
      // A group holds its four low halves, then its four high ones: two pairs of each.
      const std::uint8_t* group = weights + 16 * (pair / 2) + 4 * (pair % 2);
      const V16 low = two_weights(group);
      const V16 high = two_weights(group + 8);
      const V8 first = hn::LoadU(d8, rows[2 * pair] + x);
      const V8 second = hn::LoadU(d8, rows[2 * pair + 1] + x);
      const V8 lower = hn::InterleaveLower(d8, first, second);
      const V8 upper = hn::InterleaveUpper(d8, first, second);
      const V16 words0 = lower_words(lower);
      const V16 words1 = upper_words(lower);
      const V16 words2 = lower_words(upper);
      const V16 words3 = upper_words(upper);
      low0 = hn::Add(low0, pair_sums(words0, low));
      low1 = hn::Add(low1, pair_sums(words1, low));
      low2 = hn::Add(low2, pair_sums(words2, low));
      low3 = hn::Add(low3, pair_sums(words3, low));
      high0 = hn::Add(high0, pair_sums(words0, high));
      high1 = hn::Add(high1, pair_sums(words1, high));
      high2 = hn::Add(high2, pair_sums(words2, high));
      high3 = hn::Add(high3, pair_sums(words3, high));
    }
    const V16 front = samples_of(rounded(low0, high0), rounded(low1, high1));
    const V16 back = samples_of(rounded(low2, high2), rounded(low3, high3));
    hn::StoreU(low_bytes(front, back), d8, out + x);
  }
}

#endif

// (background * (255 - a) + v * a) / 255 to nearest.
HWY_INLINE V8 over(V8 value, V8 alpha, std::uint8_t background) {
  using DU16 = hn::Repartition<std::uint16_t, D8>;
  const D8 d8;
  const DU16 du16;
  const V8 beneath = hn::Set(d8, background);
  const V8 rest = hn::Xor(alpha, hn::Set(d8, std::uint8_t{255}));
  const auto half = [&](auto v, auto a, auto b, auto r) {
    const auto sum = hn::Add(hn::Add(hn::Mul(hn::BitCast(du16, v), hn::BitCast(du16, a)),
                                     hn::Mul(hn::BitCast(du16, b), hn::BitCast(du16, r))),
                             hn::Set(du16, std::uint16_t{128}));
    return hn::ShiftRight<8>(hn::Add(sum, hn::ShiftRight<8>(sum)));
  };
  const auto low = half(lower_words(value), lower_words(alpha), lower_words(beneath), lower_words(rest));
  const auto high = half(upper_words(value), upper_words(alpha), upper_words(beneath), upper_words(rest));
  return low_bytes(hn::BitCast(D16(), low), hn::BitCast(D16(), high));
}

void composite_vector(const std::uint8_t* rgba, const std::array<std::uint8_t, 3>& background,
                      std::uint8_t* rgb) {
  const D8 d8;
  V8 r, g, b, a;
  hn::LoadInterleaved4(d8, rgba, r, g, b, a);
  hn::StoreInterleaved3(over(r, a, background[0]), over(g, a, background[1]), over(b, a, background[2]), d8,
                        rgb);
}

void composite(const std::uint8_t* rgba, std::size_t pixels, const std::array<std::uint8_t, 3>& background,
               std::uint8_t* rgb) {
  const std::size_t step = hn::Lanes(D8());
  std::size_t x = 0;
  for (; x + step <= pixels; x += step) composite_vector(rgba + 4 * x, background, rgb + 3 * x);
  if (x == pixels) return;
  std::uint8_t in[4 * kQuadBytes] = {};
  std::uint8_t out[3 * kQuadBytes];
  std::memcpy(in, rgba + 4 * x, 4 * (pixels - x));
  composite_vector(in, background, out);
  std::memcpy(rgb + 3 * x, out, 3 * (pixels - x));
}

void drop_alpha(const std::uint8_t* rgba, std::size_t pixels, std::uint8_t* rgb) {
  const D8 d8;
  const std::size_t step = hn::Lanes(d8);
  std::size_t x = 0;
  for (; x + step <= pixels; x += step) {
    V8 r, g, b, a;
    hn::LoadInterleaved4(d8, rgba + 4 * x, r, g, b, a);
    hn::StoreInterleaved3(r, g, b, d8, rgb + 3 * x);
  }
  for (; x < pixels; ++x) std::memcpy(rgb + 3 * x, rgba + 4 * x, 3);
}

// Where vectors of `step` pixels begin so that they cover all `pixels`: the last one overlaps its neighbour.
template <typename At>
HWY_INLINE void cover(std::size_t pixels, std::size_t step, const At& at) {
  for (std::size_t x = 0; x + step < pixels; x += step) at(x);
  at(pixels - step);
}

void reverse(const std::uint8_t* rgb, std::size_t pixels, std::uint8_t* bgr) {
  const D8 d8;
  const std::size_t step = hn::Lanes(d8);
  if (pixels >= step) {
    return cover(pixels, step, [&](std::size_t x) {
      V8 r, g, b;
      hn::LoadInterleaved3(d8, rgb + 3 * x, r, g, b);
      hn::StoreInterleaved3(b, g, r, d8, bgr + 3 * x);
    });
  }
  for (std::size_t x = 0; x < pixels; ++x) {
    for (std::size_t c = 0; c < 3; ++c) bgr[3 * x + c] = rgb[3 * x + 2 - c];
  }
}

void split(const std::uint8_t* rgb, std::size_t pixels, std::uint8_t* const* planes) {
  const D8 d8;
  const std::size_t step = hn::Lanes(d8);
  if (pixels >= step) {
    return cover(pixels, step, [&](std::size_t x) {
      V8 r, g, b;
      hn::LoadInterleaved3(d8, rgb + 3 * x, r, g, b);
      hn::StoreU(r, d8, planes[0] + x);
      hn::StoreU(g, d8, planes[1] + x);
      hn::StoreU(b, d8, planes[2] + x);
    });
  }
  for (std::size_t x = 0; x < pixels; ++x) {
    for (std::size_t c = 0; c < 3; ++c) planes[c][x] = rgb[3 * x + c];
  }
}

}  // namespace
}  // namespace floodgate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
