#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

#include "encoded_pictures.h"
#include "floodgate/view.h"
#include "view/kernel.h"
#include "view/passes.h"

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

Data resized(const Picture& picture, std::int32_t width, std::int32_t height, Filter filter) {
  const ImageView view = {.width = width, .height = height, .filter = filter};
  Data out(static_cast<std::size_t>(view.row_bytes()), 0xAA);
  const Status status = render_view(picture, view, out);
  EXPECT_TRUE(status.ok()) << status.message();
  return out;
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

TEST(Kernel, EveryWeightFitsItsPackedForms) {
  for (const Filter filter : kFilters) {
    for (std::int32_t in = 1; in <= 40; ++in) {
      for (const std::int32_t out : {1, 2, 3, 5, 7, 8, 13, 39, 41, 64, 200, 1000}) {
        const Kernel kernel(in, out, 0, out, filter);
        for (std::int32_t x = 0; x < out; ++x) {
          for (std::int32_t i = 0; i < kernel.taps(x).count; ++i) {
            ASSERT_LE(std::abs(kernel.weights(x)[i]), kMaxWeight) << in << " to " << out;
          }
        }
      }
    }
  }
}

TEST(Kernel, ReadFromTheOtherEndItSumsTheSamePixels) {
  const std::int32_t in = 57;
  const Kernel plain(in, 23, 4, 11, Filter::kLanczos);
  Kernel mirrored = plain;
  mirrored.mirror(in);
  Kernel reversed = mirrored;
  reversed.reverse();
  for (std::int32_t x = 0; x < plain.length(); ++x) {
    ASSERT_EQ(mirrored.taps(x).count, plain.taps(x).count);
    ASSERT_EQ(reversed.taps(plain.length() - 1 - x).first, mirrored.taps(x).first);
    for (std::int32_t i = 0; i < plain.taps(x).count; ++i) {
      const std::int32_t pixel = plain.taps(x).first + i;
      const std::int32_t tap = in - 1 - pixel - mirrored.taps(x).first;
      ASSERT_EQ(mirrored.weights(x)[tap], plain.weights(x)[i]);
      ASSERT_EQ(reversed.weights(plain.length() - 1 - x)[tap], plain.weights(x)[i]);
    }
  }
}

TEST(Resize, HalvingWithABoxAverages) {
  const Picture picture = picture_of(2, 2, {10, 0, 0, 20, 0, 0, 30, 0, 0, 40, 0, 255});
  EXPECT_EQ(resized(picture, 1, 1, Filter::kBox), (Data{25, 0, 64}));
}

TEST(Resize, UnchangedSizeKeepsEveryPixel) {
  const Data samples = testing::gradient(31, 17, 3);
  const Picture picture = picture_of(31, 17, samples);
  for (const Filter filter : kFilters) EXPECT_EQ(resized(picture, 31, 17, filter), samples);
}

TEST(Resize, OneColourStaysThatColour) {
  Data samples;
  for (int i = 0; i < 40 * 30; ++i) testing::put_data(samples, Data{7, 128, 250});
  const Picture picture = picture_of(40, 30, samples);
  for (const Filter filter : kFilters) {
    const Data out = resized(picture, 17, 55, filter);
    for (std::size_t i = 0; i < out.size(); i += 3) {
      ASSERT_EQ((Data{out[i], out[i + 1], out[i + 2]}), (Data{7, 128, 250}));
    }
  }
}

}  // namespace
}  // namespace floodgate
