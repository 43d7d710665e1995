// A JPEG's rows go to the sink as they are decoded, at the scale that was asked for, within the caller's
// limits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "encoded_pictures.h"
#include "floodgate/decode.h"

namespace floodgate {
namespace {

using testing::Data;
using testing::jpeg;
using testing::JpegOptions;

class RecordingSink final : public RowSink {
 public:
  Status begin(const FrameShape& shape) override {
    shapes.push_back(shape);
    return refusal;
  }
  void rows(std::uint32_t y, std::uint32_t count, const std::uint8_t* pixels, std::size_t stride) override {
    EXPECT_EQ(y, next) << "rows come in order, without gaps";
    next = y + count;
    most = std::max(most, count);
    const std::size_t row_bytes = std::size_t{3} * shapes.back().width;
    for (std::uint32_t i = 0; i < count; ++i) {
      samples.insert(samples.end(), pixels + stride * i, pixels + stride * i + row_bytes);
    }
  }

  [[nodiscard]] Roi roi() const override { return looked_at; }

  Status refusal;
  Roi looked_at;
  std::vector<FrameShape> shapes;
  Data samples;
  std::uint32_t next = 0;
  std::uint32_t most = 0;
};

Status decode_into(RecordingSink& sink, const Data& data, const MediaLimits& limits = {},
                   std::uint32_t decode_min = 0) {
  const auto info = probe(data, limits);
  EXPECT_TRUE(info.ok()) << info.status().message();
  return decode(data, info.value(), limits, {decode_min}, sink);
}

TEST(JpegStream, RowsComeInStripsAndAreThoseOfTheWholePicture) {
  for (const int channels : {1, 3, 4}) {
    for (const bool progressive : {false, true}) {
      const Data data = jpeg(190, 500, {.channels = channels, .progressive = progressive});
      RecordingSink sink;
      ASSERT_TRUE(decode_into(sink, data).ok());
      EXPECT_EQ(sink.next, 500U);
      EXPECT_LE(sink.most, 64U);
      const auto picture = decode_picture(data, probe(data, {}).value(), {});
      ASSERT_TRUE(picture.ok());
      EXPECT_EQ(sink.samples,
                Data(picture.value().rgb.get(), picture.value().rgb.get() + picture.value().bytes()));
    }
  }
}

// Whether two pictures of `width` x 3 bytes a row have the same pixels where `roi` looks.
void expect_same_within(const Roi& roi, const Data& one, const Data& other, std::size_t width,
                        const std::string& what) {
  ASSERT_EQ(one.size(), other.size()) << what;
  const std::size_t height = one.size() / 3 / width;
  for (std::size_t y = roi.top; y < std::min<std::size_t>(roi.bottom, height); ++y) {
    const std::size_t begin = 3 * (y * width + roi.left);
    const std::size_t end = 3 * (y * width + std::min<std::size_t>(roi.right, width));
    ASSERT_TRUE(std::equal(one.begin() + static_cast<std::ptrdiff_t>(begin),
                           one.begin() + static_cast<std::ptrdiff_t>(end),
                           other.begin() + static_cast<std::ptrdiff_t>(begin)))
        << what << ": row " << y;
  }
}

TEST(JpegStream, WhatASinkLooksAtIsAsInTheWholePicture) {
  std::vector<JpegOptions> kinds = {{.channels = 1},
                                    {.channels = 1, .across = 2, .down = 2},
                                    {.channels = 4},
                                    {.channels = 4, .ycck = true},
                                    {.separate_scans = true}};
  for (const auto& [across, down] :
       {std::pair{1, 1}, {2, 1}, {1, 2}, {2, 2}, {4, 1}, {4, 2}, {1, 4}, {3, 1}, {3, 2}, {2, 3}, {2, 4}}) {
    kinds.push_back({.across = across, .down = down});
    kinds.push_back({.restart_rows = 1, .across = across, .down = down});
    kinds.push_back({.progressive = true, .across = across, .down = down});
    kinds.push_back({.unfinished = true, .across = across, .down = down});
  }
  const std::pair<std::uint32_t, std::uint32_t> sides[] = {
      {201, 163}, {160, 128}, {33, 17}, {7, 300}, {300, 5}};
  std::mt19937 random(7);
  for (const JpegOptions& kind : kinds) {
    for (const auto& [width, height] : sides) {
      const Data data = jpeg(width, height, kind);
      for (const std::uint32_t decode_min : {0U, 24U, 8U}) {
        RecordingSink whole;
        ASSERT_TRUE(decode_into(whole, data, {}, decode_min).ok());
        const std::uint32_t shown = whole.shapes.back().width;
        const std::uint32_t rows = whole.shapes.back().height;
        for (int i = 0; i < 12; ++i) {
          RecordingSink sink;
          sink.looked_at.left = random() % shown;
          sink.looked_at.top = random() % rows;
          sink.looked_at.right = sink.looked_at.left + 1 + random() % shown;
          sink.looked_at.bottom = sink.looked_at.top + 1 + random() % rows;
          ASSERT_TRUE(decode_into(sink, data, {}, decode_min).ok());
          EXPECT_EQ(sink.next, rows);
          const Roi& roi = sink.looked_at;
          const std::string what = std::to_string(width) + "x" + std::to_string(height) + " " +
                                   std::to_string(kind.across) + ":" + std::to_string(kind.down) +
                                   (kind.progressive  ? " progressive"
                                    : kind.unfinished ? " unfinished"
                                                      : "") +
                                   " of " + std::to_string(decode_min) + ", " + std::to_string(roi.left) +
                                   "-" + std::to_string(roi.right) + " x " + std::to_string(roi.top) + "-" +
                                   std::to_string(roi.bottom);
          expect_same_within(roi, whole.samples, sink.samples, shown, what);
        }
      }
    }
  }
}

// The strip's pixels that are not made stay what they were, so that they come again one strip later.
TEST(JpegStream, WhatNobodyLooksAtIsNotMade) {
  const Data data = jpeg(320, 640, {});
  RecordingSink whole;
  ASSERT_TRUE(decode_into(whole, data).ok());
  RecordingSink sink;
  sink.looked_at = {128, 256, 192, 512};
  ASSERT_TRUE(decode_into(sink, data).ok());
  const auto pixel = [](const RecordingSink& of, std::size_t x, std::size_t y) {
    const auto at = of.samples.begin() + static_cast<std::ptrdiff_t>(3 * (320 * y + x));
    return Data(at, at + 3);
  };
  const std::pair<std::size_t, std::size_t> outside[] = {{150, 10}, {20, 300}, {300, 300}, {150, 550}};
  for (const auto& [x, y] : outside) {
    EXPECT_NE(pixel(whole, x, y), pixel(whole, x, y + 64)) << x << ", " << y;
    EXPECT_EQ(pixel(sink, x, y), pixel(sink, x, y + 64)) << x << ", " << y;
  }
}

TEST(JpegStream, ASinkThatLooksAtNothingGetsEveryRow) {
  for (const bool progressive : {false, true}) {
    RecordingSink sink;
    sink.looked_at = {UINT32_MAX, UINT32_MAX, 0, 0};
    EXPECT_TRUE(decode_into(sink, jpeg(64, 640, {.progressive = progressive})).ok());
    EXPECT_EQ(sink.next, 640U);
  }
}

TEST(JpegStream, WhatIsNotLookedAtMustNotBeMissing) {
  Data data = jpeg(64, 640, {});
  data.resize(data.size() - data.size() / 20);
  RecordingSink sink;
  sink.looked_at.bottom = 320;
  const Status status = decode_into(sink, data);
  EXPECT_EQ(status.code(), Code::kInvalidContent);
  EXPECT_NE(status.message().find("truncated"), std::string::npos);
}

TEST(JpegStream, TheScaleIsTheSmallestThatLeavesBothSidesLongEnough) {
  const Data data = jpeg(161, 97, {});
  const struct {
    std::uint32_t decode_min;
    std::uint32_t width;
    std::uint32_t height;
  } cases[] = {{0, 161, 97}, {97, 161, 97}, {49, 161, 97}, {48, 81, 49}, {25, 81, 49},
               {24, 41, 25}, {13, 41, 25},  {12, 21, 13},  {1, 21, 13},  {5000, 161, 97}};
  for (const auto& [decode_min, width, height] : cases) {
    RecordingSink sink;
    ASSERT_TRUE(decode_into(sink, data, {}, decode_min).ok());
    EXPECT_EQ(sink.shapes.back().width, width) << decode_min;
    EXPECT_EQ(sink.shapes.back().height, height) << decode_min;
    EXPECT_EQ(sink.next, height);
  }
}

TEST(JpegStream, ASinkThatRefusesGetsNoRows) {
  RecordingSink sink;
  sink.refusal = {Code::kOverloaded, "no room"};
  const Status status = decode_into(sink, jpeg(64, 64, {}));
  EXPECT_EQ(status.code(), Code::kOverloaded);
  EXPECT_EQ(status.message(), "no room");
  EXPECT_EQ(sink.next, 0U);
}

TEST(JpegStream, TheCallersLimitsHoldAndAreNamed) {
  const Data progressive = jpeg(64, 64, {.progressive = true});
  RecordingSink sink;
  Status status = decode_into(sink, progressive, {.max_scans = 2});
  EXPECT_EQ(status.code(), Code::kTooLarge);
  EXPECT_NE(status.message().find("more than 2 scans"), std::string::npos) << status.message();
  EXPECT_EQ(sink.next, 0U);

  const Data separate = jpeg(64, 64, {.separate_scans = true});
  status = decode_into(sink, separate, {.max_coefficient_bytes = 1000});
  EXPECT_EQ(status.code(), Code::kTooLarge);
  EXPECT_NE(status.message().find("coefficients"), std::string::npos) << status.message();
  EXPECT_TRUE(decode_into(sink, jpeg(64, 64, {}), {.max_scans = 1, .max_coefficient_bytes = 0}).ok());
}

TEST(JpegStream, ATruncatedPictureGivesItsFirstRowsAndAnError) {
  Data data = jpeg(64, 640, {});
  data.resize(data.size() / 2);
  RecordingSink sink;
  const Status status = decode_into(sink, data);
  EXPECT_EQ(status.code(), Code::kInvalidContent);
  EXPECT_NE(status.message().find("truncated"), std::string::npos);
  EXPECT_LT(sink.next, 640U);
}

}  // namespace
}  // namespace floodgate
