// The passes for processors without vectors. Included once, by passes.cc; see passes.h.
// No include guard: once for each instruction set that passes.cc is compiled for.

HWY_BEFORE_NAMESPACE();
namespace floodgate::HWY_NAMESPACE {
namespace {

std::uint8_t to_byte(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

std::int32_t weight_at(const std::uint8_t* weights, std::size_t tap) {
  std::int32_t weight;
  std::memcpy(&weight, weights + 4 * tap, sizeof weight);
  return weight;
}

void gather(const std::uint8_t* const* rows, std::size_t pixels, std::uint8_t* quads) {
  for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
    for (std::size_t x = 0; x < pixels; ++x) {
      for (std::size_t c = 0; c < 3; ++c) {
        quads[kQuadBytes * (x / 4) + 16 * r + 4 * c + x % 4] = rows[r][3 * x + c];
      }
    }
  }
}

void filter_rows(const std::uint8_t* quads, const std::uint32_t* first_quad, std::size_t groups,
                 const std::uint8_t* weights, std::size_t length, std::uint8_t* const* out) {
  for (std::size_t x = 0; x < length; ++x, weights += groups * group_bytes(WeightForm::kWhole)) {
    for (std::size_t r = 0; r < kRowsAtOnce; ++r) {
      for (std::size_t c = 0; c < 3; ++c) {
        const std::uint8_t* samples = quads + kQuadBytes * first_quad[x] + 16 * r + 4 * c;
        std::int32_t sum = kHalf;
        for (std::size_t i = 0; i < 4 * groups; ++i) {
          sum += samples[kQuadBytes * (i / 4) + i % 4] * weight_at(weights, i);
        }
        out[r][3 * x + c] = to_byte(sum);
      }
    }
  }
}

void filter_columns(const std::uint8_t* const* rows, std::size_t groups, const std::uint8_t* weights,
                    std::size_t bytes, std::uint8_t* out) {
  for (std::size_t x = 0; x < bytes; ++x) {
    std::int32_t sum = kHalf;
    for (std::size_t i = 0; i < 4 * groups; ++i) sum += rows[i][x] * weight_at(weights, i);
    out[x] = to_byte(sum);
  }
}

void composite(const std::uint8_t* rgba, std::size_t pixels, const std::array<std::uint8_t, 3>& background,
               std::uint8_t* rgb) {
  for (std::size_t i = 0; i < pixels; ++i) {
    const std::uint32_t alpha = rgba[4 * i + 3];
    for (std::size_t c = 0; c < 3; ++c) {
      const std::uint32_t sum = background[c] * (255 - alpha) + rgba[4 * i + c] * alpha + 128;
      rgb[3 * i + c] = static_cast<std::uint8_t>((sum + (sum >> 8)) >> 8);
    }
  }
}

void drop_alpha(const std::uint8_t* rgba, std::size_t pixels, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < pixels; ++i) std::memcpy(rgb + 3 * i, rgba + 4 * i, 3);
}

void reverse(const std::uint8_t* rgb, std::size_t pixels, std::uint8_t* bgr) {
  for (std::size_t i = 0; i < pixels; ++i) {
    for (std::size_t c = 0; c < 3; ++c) bgr[3 * i + c] = rgb[3 * i + 2 - c];
  }
}

void split(const std::uint8_t* rgb, std::size_t pixels, std::uint8_t* const* planes) {
  for (std::size_t i = 0; i < pixels; ++i) {
    for (std::size_t c = 0; c < 3; ++c) planes[c][i] = rgb[3 * i + c];
  }
}

}  // namespace
}  // namespace floodgate::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
