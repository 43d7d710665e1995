#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "encoded_pictures.h"
#include "floodgate/media.h"
#include "view/kernel.h"
#include "view/placement.h"
#include "view/resample.h"

namespace floodgate {
namespace {

using testing::Data;

constexpr Filter kFilters[] = {Filter::kBilinear, Filter::kBicubic, Filter::kLanczos, Filter::kBox,
                               Filter::kHamming};

Picture picture_of(std::uint32_t width, std::uint32_t height, const Data& samples) {
  Picture picture;
  picture.width = width;
  picture.height = height;
  picture.rgb = std::make_unique<std::uint8_t[]>(samples.size());
  std::copy(samples.begin(), samples.end(), picture.rgb.get());
  return picture;
}

class Collector final : public RowSink {
 public:
  explicit Collector(const Placement& placement)
      : row_bytes_(3 * static_cast<std::size_t>(placement.kept_width)) {}
  void row(std::int32_t y, const std::uint8_t* rgb) override {
    EXPECT_EQ(static_cast<std::size_t>(y) * row_bytes_, pixels.size()) << "rows come in order";
    pixels.insert(pixels.end(), rgb, rgb + row_bytes_);
  }
  Data pixels;

 private:
  const std::size_t row_bytes_;
};

Data resampled(const Picture& picture, const Placement& placement, Filter filter) {
  Collector collector(placement);
  resample(picture, placement, filter, collector);
  return collector.pixels;
}

Placement whole(std::int32_t width, std::int32_t height) {
  return {.resized_width = width, .resized_height = height, .kept_width = width, .kept_height = height};
}

// One pass along rows over a whole picture, written for obviousness.
Data pass(const Data& in, std::int32_t width, std::int32_t height, std::int32_t out_width, Filter filter) {
  if (width == out_width) return in;
  const Kernel kernel(width, out_width, 0, out_width, filter);
  Data out;
  for (std::int32_t y = 0; y < height; ++y) {
    for (std::int32_t x = 0; x < out_width; ++x) {
      for (std::int32_t c = 0; c < 3; ++c) {
        std::int64_t sum = 1 << (kPrecisionBits - 1);
        for (std::int32_t i = 0; i < kernel.taps(x).count; ++i) {
          sum += std::int64_t{in[static_cast<std::size_t>((y * width + kernel.taps(x).first + i) * 3 + c)]} *
                 kernel.weights(x)[i];
        }
        out.push_back(static_cast<std::uint8_t>(std::clamp<std::int64_t>(sum >> kPrecisionBits, 0, 255)));
      }
    }
  }
  return out;
}

Data transposed(const Data& in, std::int32_t width, std::int32_t height) {
  Data out;
  for (std::int32_t x = 0; x < width; ++x) {
    for (std::int32_t y = 0; y < height; ++y) {
      for (std::int32_t c = 0; c < 3; ++c)
        out.push_back(in[static_cast<std::size_t>((y * width + x) * 3 + c)]);
    }
  }
  return out;
}

Data reference(const Data& in, std::int32_t width, std::int32_t height, std::int32_t out_width,
               std::int32_t out_height, Filter filter) {
  const bool vertical_first = height > out_height && height - out_height > 2 * (width - out_width);
  if (vertical_first) {
    const Data tall = pass(transposed(in, width, height), height, width, out_height, filter);
    return pass(transposed(tall, out_height, width), width, out_height, out_width, filter);
  }
  const Data wide = pass(in, width, height, out_width, filter);
  const Data tall = pass(transposed(wide, out_width, height), height, out_width, out_height, filter);
  return transposed(tall, out_height, out_width);
}

TEST(Kernel, WeightsSumToOne) {
  for (const Filter filter : kFilters) {
    for (const auto& [in, out] : {std::pair{100, 37}, {37, 100}, {1, 5}, {5, 1}, {4000, 224}}) {
      const Kernel kernel(in, out, 0, out, filter);
      ASSERT_EQ(kernel.length(), out);
      for (std::int32_t x = 0; x < out; ++x) {
        const Taps taps = kernel.taps(x);
        ASSERT_GE(taps.first, 0);
        ASSERT_GE(taps.count, 1);
        ASSERT_LE(taps.first + taps.count, in);
        ASSERT_LE(taps.count, kernel.max_count());
        std::int64_t sum = 0;
        for (std::int32_t i = 0; i < taps.count; ++i) sum += kernel.weights(x)[i];
        EXPECT_NEAR(static_cast<double>(sum), 1 << kPrecisionBits, taps.count);
      }
    }
  }
}

TEST(Kernel, PartOfAnAxisHasTheWeightsOfTheWhole) {
  const Kernel all(300, 120, 0, 120, Filter::kLanczos);
  const Kernel part(300, 120, 40, 30, Filter::kLanczos);
  for (std::int32_t x = 0; x < 30; ++x) {
    ASSERT_EQ(part.taps(x).first, all.taps(40 + x).first);
    ASSERT_EQ(part.taps(x).count, all.taps(40 + x).count);
    for (std::int32_t i = 0; i < part.taps(x).count; ++i)
      ASSERT_EQ(part.weights(x)[i], all.weights(40 + x)[i]);
  }
}

TEST(Resize, HalvingWithABoxAverages) {
  const Picture picture = picture_of(2, 2, {10, 0, 0, 20, 0, 0, 30, 0, 0, 40, 0, 255});
  EXPECT_EQ(resampled(picture, whole(1, 1), Filter::kBox), (Data{25, 0, 64}));
}

TEST(Resize, UnchangedSizeKeepsEveryPixel) {
  const Data samples = testing::gradient(31, 17, 3);
  const Picture picture = picture_of(31, 17, samples);
  for (const Filter filter : kFilters) EXPECT_EQ(resampled(picture, whole(31, 17), filter), samples);
}

TEST(Resize, OneColourStaysThatColour) {
  Data samples;
  for (int i = 0; i < 40 * 30; ++i) testing::put_data(samples, Data{7, 128, 250});
  const Picture picture = picture_of(40, 30, samples);
  for (const Filter filter : kFilters) {
    const Data out = resampled(picture, whole(17, 55), filter);
    for (std::size_t i = 0; i < out.size(); i += 3) {
      ASSERT_EQ((Data{out[i], out[i + 1], out[i + 2]}), (Data{7, 128, 250}));
    }
  }
}

TEST(Resize, EqualsTwoPlainPassesForRandomShapes) {
  std::mt19937 random(20);
  const auto between = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  for (int round = 0; round < 200; ++round) {
    const std::int32_t width = between(1, 60);
    const std::int32_t height = between(1, 60);
    const std::int32_t out_width = between(0, 3) == 0 ? width : between(1, 60);
    const std::int32_t out_height = between(0, 3) == 0 ? height : between(1, 60);
    Data samples(static_cast<std::size_t>(3 * width * height));
    for (auto& sample : samples)
      sample = static_cast<std::uint8_t>(between(0, 1) == 0 ? between(0, 255) : 255);
    const Picture picture =
        picture_of(static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height), samples);
    const Filter filter = kFilters[round % 5];
    const Data expected = reference(samples, width, height, out_width, out_height, filter);
    ASSERT_EQ(resampled(picture, whole(out_width, out_height), filter), expected)
        << width << "x" << height << " to " << out_width << "x" << out_height;

    Placement part = whole(out_width, out_height);
    part.kept_x = between(0, out_width - 1);
    part.kept_y = between(0, out_height - 1);
    part.kept_width = between(1, out_width - part.kept_x);
    part.kept_height = between(1, out_height - part.kept_y);
    Data kept;
    for (std::int32_t y = part.kept_y; y < part.kept_y + part.kept_height; ++y) {
      const auto begin = expected.begin() + 3 * (y * out_width + part.kept_x);
      kept.insert(kept.end(), begin, begin + 3 * part.kept_width);
    }
    ASSERT_EQ(resampled(picture, part, filter), kept) << "a part equals the same part of the whole";
  }
}

}  // namespace
}  // namespace floodgate
