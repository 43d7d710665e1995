#include "floodgate/view.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "encoded_pictures.h"
#include "view/placement.h"

namespace floodgate {
namespace {

using testing::Data;

Picture gradient_picture(std::uint32_t width, std::uint32_t height) {
  const Data samples = testing::gradient(width, height, 3);
  Picture picture;
  picture.width = width;
  picture.height = height;
  picture.rgb = std::make_unique<std::uint8_t[]>(samples.size());
  std::copy(samples.begin(), samples.end(), picture.rgb.get());
  return picture;
}

Data rendered(const Picture& picture, const ImageView& view) {
  Data out(static_cast<std::size_t>(view.row_bytes()), 0xAA);
  const Status status = render_view(picture, view, out);
  EXPECT_TRUE(status.ok()) << status.message();
  return out;
}

Data pixel(const Data& out, const ImageView& view, std::int32_t x, std::int32_t y) {
  const auto at = static_cast<std::size_t>(3 * (y * view.out_width() + x));
  return {out[at], out[at + 1], out[at + 2]};
}

TEST(ImageView, ValidationNamesTheMember) {
  const std::pair<ImageView, const char*> cases[] = {
      {{.width = 0, .height = 4}, "view.width is 0"},
      {{.width = 4, .height = -1}, "view.height is -1"},
      {{.width = kMaxViewSide + 1, .height = 4}, "view.width is 4097"},
      {{.width = 4, .height = 4, .crop_width = 5}, "view.crop_width is 5"},
      {{.width = 4, .height = 4, .crop_width = -1}, "view.crop_width is -1"},
      {{.width = 4, .height = 4, .crop_height = 9}, "view.crop_height is 9"},
  };
  for (const auto& [view, message] : cases) {
    const Status status = validate(view);
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find(message), std::string::npos) << status.message();
  }
  EXPECT_TRUE(validate(ImageView{.width = 4, .height = 4, .crop_width = 4}).ok());
}

TEST(TextView, BucketsMustAscend) {
  EXPECT_TRUE(validate(TextView{{64, 256, 1024}}).ok());
  for (const std::vector<std::int32_t>& buckets :
       {std::vector<std::int32_t>{}, {0}, {-1, 5}, {64, 64}, {256, 64}, {1 << 21}}) {
    const Status status = validate(TextView{buckets});
    EXPECT_EQ(status.code(), Code::kInvalidArgument);
    EXPECT_NE(status.message().find("view.buckets"), std::string::npos);
  }
}

TEST(RenderView, WrongOutputSizeIsRefused) {
  Data out(5);
  EXPECT_EQ(render_view(gradient_picture(4, 4), {.width = 2, .height = 2}, out).code(),
            Code::kInvalidArgument);
  Data fits(12);
  EXPECT_EQ(render_view(Picture{}, {.width = 2, .height = 2}, fits).code(), Code::kInvalidArgument);
}

TEST(RenderView, ContainPadsOnBothSidesOrBehind) {
  const Picture wide = gradient_picture(20, 10);
  ImageView view = {.width = 10, .height = 10, .mode = ResizeMode::kContain, .pad_color = {1, 2, 3}};
  const Data centred = rendered(wide, view);
  const Data pad = {1, 2, 3};
  EXPECT_EQ(pixel(centred, view, 0, 1), pad);  // 5 rows of picture: round(2.5) = 2 above, 3 below
  EXPECT_NE(pixel(centred, view, 0, 2), pad);
  EXPECT_NE(pixel(centred, view, 0, 6), pad);
  EXPECT_EQ(pixel(centred, view, 0, 7), pad);
  view.pad_anchor = PadAnchor::kTopLeft;
  const Data top = rendered(wide, view);
  EXPECT_NE(pixel(top, view, 0, 0), pad);
  EXPECT_NE(pixel(top, view, 9, 4), pad);
  EXPECT_EQ(pixel(top, view, 9, 5), pad);
}

TEST(RenderView, CropThatMissesThePictureShowsPaddingOnly) {
  const ImageView view = {.width = 100,
                          .height = 100,
                          .mode = ResizeMode::kContain,
                          .crop_width = 10,
                          .crop_height = 10,
                          .pad_anchor = PadAnchor::kTopLeft,
                          .pad_color = {9, 9, 9}};
  EXPECT_EQ(rendered(gradient_picture(200, 2), view), Data(300, 9));
}

TEST(Placement, CoverMeetsTheShorterSideAndCropsTheMiddle) {
  const Placement place_wide = place(300, 100, {.width = 50, .height = 50, .mode = ResizeMode::kCover});
  EXPECT_EQ(place_wide.resized_width, 150);
  EXPECT_EQ(place_wide.resized_height, 50);
  EXPECT_EQ(place_wide.kept_x, 50);
  EXPECT_EQ(place_wide.kept_y, 0);
  EXPECT_EQ(place_wide.kept_width, 50);
  EXPECT_EQ(place_wide.kept_height, 50);
  const Placement odd = place(100, 301, {.width = 50, .height = 50, .mode = ResizeMode::kCover});
  EXPECT_EQ(odd.resized_height, 150);  // round(150.5) is even
  EXPECT_EQ(odd.kept_y, 50);
}

TEST(Placement, CropOffsetsRoundDown) {
  const Placement placement = place(9, 9, {.width = 9, .height = 8, .crop_width = 4, .crop_height = 5});
  EXPECT_EQ(placement.kept_x, 2);
  EXPECT_EQ(placement.kept_y, 1);
}

TEST(Placement, AThinPicturesLetterboxIsAsPillowRoundsIt) {
  const ImageView letterbox = {.width = 224, .height = 224, .mode = ResizeMode::kContain};
  EXPECT_EQ(place(447, 1, letterbox).kept_height, 1);  // 0.501 px
  EXPECT_EQ(place(448, 1, letterbox).kept_height, 0);  // 0.5 px, to even
  EXPECT_EQ(place(449, 3, letterbox).kept_height, 1);
  ImageView padded = letterbox;
  padded.pad_color = {7, 7, 7};
  EXPECT_EQ(rendered(gradient_picture(448, 1), padded), Data(std::size_t{3} * 224 * 224, 7));
}

TEST(Placement, CoverOfAnExtremelyThinPictureKeepsItsMiddle) {
  const Placement cover = place(65'535, 1, {.width = 4096, .height = 4096, .mode = ResizeMode::kCover});
  EXPECT_EQ(cover.kept_width, 4096);
  EXPECT_EQ(cover.kept_height, 4096);
  const ImageView view = {.width = 64, .height = 64, .mode = ResizeMode::kCover};
  rendered(gradient_picture(60'000, 1), view);
  rendered(gradient_picture(1, 60'000), view);
}

TEST(RenderView, CropEqualsTheMiddleOfTheWhole) {
  const Picture picture = gradient_picture(90, 70);
  for (const ResizeMode mode : {ResizeMode::kStretch, ResizeMode::kContain, ResizeMode::kCover}) {
    const ImageView whole = {.width = 40, .height = 36, .mode = mode, .filter = Filter::kBicubic};
    ImageView cropped = whole;
    cropped.crop_width = 31;
    cropped.crop_height = 30;
    const Data all = rendered(picture, whole);
    const Data part = rendered(picture, cropped);
    for (std::int32_t y = 0; y < 30; ++y) {
      for (std::int32_t x = 0; x < 31; ++x) {
        ASSERT_EQ(pixel(part, cropped, x, y), pixel(all, whole, x + 4, y + 3));
      }
    }
  }
}

TEST(RenderView, LayoutAndColourOrderMoveSamplesOnly) {
  const Picture picture = gradient_picture(30, 20);
  const ImageView plain = {.width = 12, .height = 8, .mode = ResizeMode::kContain, .pad_color = {1, 2, 3}};
  const Data rgb = rendered(picture, plain);
  for (const ColorOrder color : {ColorOrder::kRgb, ColorOrder::kBgr}) {
    for (const Layout layout : {Layout::kNhwc, Layout::kNchw}) {
      ImageView view = plain;
      view.color = color;
      view.layout = layout;
      const Data out = rendered(picture, view);
      for (std::size_t i = 0; i < 12 * 8; ++i) {
        for (std::size_t c = 0; c < 3; ++c) {
          const std::size_t channel = color == ColorOrder::kRgb ? c : 2 - c;
          const std::size_t at = layout == Layout::kNhwc ? 3 * i + channel : channel * 12 * 8 + i;
          ASSERT_EQ(out[at], rgb[3 * i + c]);
        }
      }
    }
  }
}

TEST(RenderView, OnePictureRendersToManyViews) {
  const Picture picture = gradient_picture(100, 80);
  const ImageView small = {.width = 16, .height = 16};
  const ImageView large = {.width = 64, .height = 48, .filter = Filter::kLanczos};
  const Data first = rendered(picture, small);
  rendered(picture, large);
  EXPECT_EQ(rendered(picture, small), first);
}

}  // namespace
}  // namespace floodgate
