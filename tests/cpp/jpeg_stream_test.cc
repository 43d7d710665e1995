// A JPEG's rows go to the sink as they are decoded, at the scale that was asked for, within the caller's
// limits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "encoded_pictures.h"
#include "floodgate/decode.h"

namespace floodgate {
namespace {

using testing::Data;
using testing::jpeg;

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

  Status refusal;
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
