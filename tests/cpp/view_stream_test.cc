// Views rendered as rows come equal the readable reference over the whole picture, on every instruction set.
#include <gtest/gtest.h>
#define HWY_WANT_AVX3_DL  // as view/passes.cc does
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "encoded_pictures.h"
#include "floodgate/view.h"
#include "view/reference.h"
#include "view_draws.h"

namespace floodgate {
namespace {

using testing::Data;
using testing::Draws;
using testing::kFilters;
using testing::kModes;

constexpr std::uint32_t kStrips[] = {1, 2, 3, 4, 5, 7, 8, 16, 1000};

std::string describe(const FrameShape& shape, const ImageView& view, std::uint32_t strip) {
  return testing::describe(shape, view) + " strips of " + std::to_string(strip);
}

// Pushes each strip from a buffer of its own that ends where the strip does, so that a sanitizer sees a read
// beyond. What the renderer says that it does not look at comes as anything.
void push(ViewRenderer& renderer, const FrameShape& shape, const Data& whole, std::uint32_t strip) {
  const std::size_t row_bytes = std::size_t{shape.channels} * shape.width;
  const Roi roi = renderer.roi();
  Data samples = whole;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const std::size_t x = i % row_bytes / shape.channels;
    const std::size_t y = i / row_bytes;
    if (x < roi.left || x >= roi.right || y < roi.top || y >= roi.bottom) samples[i] = ~samples[i];
  }
  for (std::uint32_t y = 0; y < shape.height; y += strip) {
    const std::uint32_t rows = std::min(strip, shape.height - y);
    const Data part(samples.begin() + static_cast<std::ptrdiff_t>(row_bytes * y),
                    samples.begin() + static_cast<std::ptrdiff_t>(row_bytes * (y + rows)));
    EXPECT_FALSE(renderer.complete());
    renderer.rows(y, rows, part.data(), row_bytes);
  }
  EXPECT_TRUE(renderer.complete());
}

Data streamed(const FrameShape& shape, const Data& samples, const ImageView& view, std::uint32_t strip) {
  Data out(static_cast<std::size_t>(view.row_bytes()), 0xAA);
  const RenderTarget target = {&view, out};
  ViewRenderer renderer({&target, 1});
  const Status begun = renderer.begin(shape);
  EXPECT_TRUE(begun.ok()) << begun.message();
  push(renderer, shape, samples, strip);
  return out;
}

Data random_samples(Draws& draws, const FrameShape& shape) {
  return draws.samples(std::size_t{shape.channels} * shape.width * shape.height);
}

// Runs `check` once on each instruction set that this processor has and Highway compiled for.
template <typename Check>
void on_every_target(const Check& check) {
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    SCOPED_TRACE(hwy::TargetName(target));
    check();
    hwy::SetSupportedTargetsForTest(0);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(ViewStream, EqualsTheReferenceForEveryOrientationFilterAndMode) {
  Draws draws(1);
  for (std::uint8_t orientation = 1; orientation <= 8; ++orientation) {
    for (const Filter filter : kFilters) {
      for (const ResizeMode mode : kModes) {
        // Shrinking on both sides either way round, growing, one side unchanged, one side far more than the
        // other.
        const std::int32_t sizes[][4] = {
            {40, 27, 12, 12}, {27, 40, 12, 12}, {9, 7, 31, 22},   {33, 21, 33, 10}, {21, 33, 10, 33},
            {15, 90, 14, 5},  {90, 15, 5, 14},  {17, 13, 17, 13}, {13, 17, 17, 13}, {64, 64, 16, 16}};
        for (const auto& [width, height, to_width, to_height] : sizes) {
          FrameShape shape = {static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height),
                              orientation};
          const Data samples = random_samples(draws, shape);
          const ImageView view = {.width = to_width, .height = to_height, .mode = mode, .filter = filter};
          const std::uint32_t strip = kStrips[draws.between(0, 8)];
          ASSERT_EQ(streamed(shape, samples, view, strip), reference_view(shape, samples, view))
              << describe(shape, view, strip);
        }
      }
    }
  }
}

TEST(ViewStream, EqualsTheReferenceForRandomPicturesOnEveryInstructionSet) {
  on_every_target([] {
    Draws draws(2);
    for (int round = 0; round < 600; ++round) {
      const std::int32_t side = round % 10 == 0 ? 300 : 70;
      const FrameShape shape = draws.shape(side);
      const Data samples = random_samples(draws, shape);
      const ImageView view = draws.view(side);
      const std::uint32_t strip = kStrips[draws.between(0, 8)];
      ASSERT_EQ(streamed(shape, samples, view, strip), reference_view(shape, samples, view))
          << describe(shape, view, strip);
    }
  });
}

TEST(ViewStream, EverySmallSizeEqualsTheReferenceOnEveryInstructionSet) {
  on_every_target([] {
    Draws draws(3);
    for (std::uint32_t in = 1; in <= 20; ++in) {
      for (std::int32_t out = 1; out <= 20; ++out) {
        const FrameShape shape = {in, 21 - in, static_cast<std::uint8_t>(draws.between(1, 8))};
        const Data samples = random_samples(draws, shape);
        const ImageView view = {.width = out, .height = 21 - out, .filter = kFilters[(in + 20 - 1) % 5]};
        ASSERT_EQ(streamed(shape, samples, view, 8), reference_view(shape, samples, view))
            << describe(shape, view, 8);
      }
    }
  });
}

TEST(ViewStream, LongTapListsEqualTheReferenceOnEveryInstructionSet) {
  on_every_target([] {
    Draws draws(4);
    for (const std::uint8_t orientation : {1, 3, 6}) {
      const FrameShape wide = {4000, 30, orientation};
      const FrameShape tall = {30, 4000, orientation};
      for (const FrameShape& shape : {wide, tall}) {
        const Data samples = random_samples(draws, shape);
        for (const ImageView& view : {ImageView{.width = 5, .height = 3, .filter = Filter::kLanczos},
                                      ImageView{.width = 1, .height = 1, .filter = Filter::kBicubic}}) {
          ASSERT_EQ(streamed(shape, samples, view, 16), reference_view(shape, samples, view))
              << describe(shape, view, 16);
        }
      }
    }
  });
}

TEST(ViewStream, AlphaIsCompositedExactlyOnEveryInstructionSet) {
  // Every value under every alpha on every kind of background.
  FrameShape shape = {256, 256, 1, 4};
  Data samples;
  for (int value = 0; value < 256; ++value) {
    for (int alpha = 0; alpha < 256; ++alpha) {
      const auto byte = static_cast<std::uint8_t>(value);
      testing::put_data(
          samples, Data{byte, static_cast<std::uint8_t>(255 - value), 77, static_cast<std::uint8_t>(alpha)});
    }
  }
  on_every_target([&] {
    for (const std::array<std::uint8_t, 3>& background :
         {std::array<std::uint8_t, 3>{255, 255, 255}, {0, 0, 0}, {1, 128, 254}}) {
      const ImageView view = {.width = 256, .height = 256, .background = background};
      ASSERT_EQ(streamed(shape, samples, view, 7), reference_view(shape, samples, view));
    }
    const ImageView ignoring = {.width = 256, .height = 256, .ignore_alpha = true};
    ASSERT_EQ(streamed(shape, samples, ignoring, 7), reference_view(shape, samples, ignoring));
  });
}

TEST(ViewRenderer, ManyViewsOfOneStreamEqualEachAlone) {
  Draws draws(5);
  for (int round = 0; round < 40; ++round) {
    const FrameShape shape = draws.shape(80);
    const Data samples = random_samples(draws, shape);
    std::vector<ImageView> views;
    for (int i = 0; i < 5; ++i) views.push_back(draws.view(60));
    views.push_back(views[1]);  // asked for twice
    views.push_back(views[1]);
    views.back().background = {9, 8, 7};  // the same only without alpha
    std::vector<Data> rows;
    std::vector<RenderTarget> targets;
    for (const ImageView& view : views) rows.emplace_back(static_cast<std::size_t>(view.row_bytes()), 0xAA);
    for (std::size_t i = 0; i < views.size(); ++i) targets.push_back({&views[i], rows[i]});
    ViewRenderer renderer(targets);
    ASSERT_TRUE(renderer.begin(shape).ok());
    push(renderer, shape, samples, 8);
    for (std::size_t i = 0; i < views.size(); ++i) {
      ASSERT_EQ(rows[i], reference_view(shape, samples, views[i])) << describe(shape, views[i], 8);
    }
  }
}

TEST(ViewRenderer, ACentreCropLeavesTheEdgesOut) {
  const ImageView cropped = {.width = 100, .height = 100, .crop_width = 80, .crop_height = 60};
  Data out(static_cast<std::size_t>(cropped.row_bytes()));
  const RenderTarget target = {&cropped, out};
  ViewRenderer renderer({&target, 1});
  ASSERT_TRUE(renderer.begin({.width = 1000, .height = 500}).ok());
  const Roi roi = renderer.roi();
  EXPECT_NEAR(roi.left, 100, 10);  // and what the filter needs beyond
  EXPECT_NEAR(roi.right, 900, 10);
  EXPECT_NEAR(roi.top, 100, 5);
  EXPECT_NEAR(roi.bottom, 400, 5);
  ASSERT_TRUE(renderer.begin({.width = 500, .height = 1000, .orientation = 6}).ok());
  EXPECT_NEAR(renderer.roi().top, 100, 10);
  EXPECT_NEAR(renderer.roi().left, 100, 5);

  const ImageView whole = {.width = 50, .height = 50};
  Data other(static_cast<std::size_t>(whole.row_bytes()));
  const RenderTarget targets[] = {target, {&whole, other}};
  ViewRenderer both(targets);
  ASSERT_TRUE(both.begin({.width = 1000, .height = 500}).ok());
  EXPECT_EQ(both.roi(), (Roi{0, 0, 1000, 500}));
}

TEST(ViewRenderer, OnePictureAfterAnotherNeedsNoNewRenderer) {
  Draws draws(6);
  const ImageView view = {.width = 20, .height = 20, .mode = ResizeMode::kContain, .pad_color = {1, 2, 3}};
  Data out(static_cast<std::size_t>(view.row_bytes()));
  const RenderTarget target = {&view, out};
  ViewRenderer renderer({&target, 1});
  for (const FrameShape& shape :
       {FrameShape{30, 20}, FrameShape{30, 20}, FrameShape{20, 30}, FrameShape{30, 20}}) {
    const Data samples = random_samples(draws, shape);
    std::fill(out.begin(), out.end(), std::uint8_t{0xAA});
    ASSERT_TRUE(renderer.begin(shape).ok());
    push(renderer, shape, samples, 7);
    ASSERT_EQ(out, reference_view(shape, samples, view));
  }
  // A picture that broke off leaves nothing behind.
  const FrameShape shape = {30, 20};
  const Data samples = random_samples(draws, shape);
  ASSERT_TRUE(renderer.begin(shape).ok());
  renderer.rows(0, 11, samples.data(), 90);
  EXPECT_FALSE(renderer.complete());
  ASSERT_TRUE(renderer.begin(shape).ok());
  push(renderer, shape, samples, 16);
  EXPECT_EQ(out, reference_view(shape, samples, view));
}

TEST(ViewRenderer, RowsThatLeaveAGapNeverMakeItComplete) {
  const ImageView view = {.width = 4, .height = 4};
  Data out(static_cast<std::size_t>(view.row_bytes()));
  const RenderTarget target = {&view, out};
  ViewRenderer renderer({&target, 1});
  const Data samples(3 * 8 * 8, 1);
  EXPECT_FALSE(renderer.complete());
  ASSERT_TRUE(renderer.begin({8, 8}).ok());
  renderer.rows(0, 3, samples.data(), 24);
  renderer.rows(4, 4, samples.data(), 24);
  renderer.rows(3, 6, samples.data(), 24);
  EXPECT_FALSE(renderer.complete());
}

TEST(ViewRenderer, PixelsThatAreNotSquareAreShownAtTheirAspect) {
  // 720x576 at 64:45 is shown 1024 wide; in a letterbox of 256x256 that is 256x144.
  const FrameShape wide = {720, 576, 1, 3, 64, 45};
  const Data samples(std::size_t{3} * 720 * 576, 200);
  const ImageView view = {.width = 256, .height = 256, .mode = ResizeMode::kContain};
  const Data out = streamed(wide, samples, view, 16);
  const auto rows_shown = [&] {
    std::int32_t rows = 0;
    for (std::size_t y = 0; y < 256; ++y) rows += out[3 * 256 * y] == 200 ? 1 : 0;
    return rows;
  };
  EXPECT_EQ(rows_shown(), 144);
}

TEST(ViewRenderer, WhatCannotBeRenderedIsRefused) {
  const ImageView view = {.width = 4, .height = 4};
  Data out(static_cast<std::size_t>(view.row_bytes()));
  const RenderTarget target = {&view, out};
  ViewRenderer renderer({&target, 1});
  EXPECT_EQ(renderer.begin({0, 4}).code(), Code::kInvalidArgument);
  EXPECT_EQ(renderer.begin({4, 4, 1, 2}).code(), Code::kInvalidArgument);
  EXPECT_EQ(renderer.begin({(1U << 18) + 1, 4}).code(), Code::kTooLarge);
  EXPECT_EQ(renderer.begin({1U << 17, 4, 1, 3, 65'535, 1}).code(), Code::kTooLarge);
  EXPECT_FALSE(renderer.complete());
  Data wrong(5);
  const RenderTarget too_small = {&view, wrong};
  EXPECT_EQ(ViewRenderer({&too_small, 1}).begin({4, 4}).code(), Code::kInvalidArgument);
  const ImageView impossible = {.width = 0, .height = 4};
  const RenderTarget nowhere = {&impossible, wrong};
  EXPECT_EQ(ViewRenderer({&nowhere, 1}).begin({4, 4}).code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace floodgate
