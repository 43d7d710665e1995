// The fused view kernel equals the readable reference bit for bit: its arithmetic emulated thread by thread
// on the CPU everywhere, the kernel itself where there is a device.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "cuda/view_table.h"
#include "emulated_device.h"
#include "floodgate/device.h"
#include "view/reference.h"
#include "view_draws.h"

namespace floodgate {
namespace {

using cuda::DeviceTarget;
using cuda::Surface;
using cuda::ViewTable;
using testing::Data;
using testing::Draws;
using testing::kFilters;
using testing::kModes;

constexpr std::size_t kGap = 5;  // bytes between rows of a surface

// A picture in a runtime's memory, and the views to make of it.
struct Case {
  FrameShape shape;
  Data samples;
  std::vector<ImageView> views;
};

// Runs one launch of all cases and returns every view's row, in order.
class Launch {
 public:
  explicit Launch(cuda::Runtime& runtime) : runtime_(runtime) {
    EXPECT_EQ(runtime_.use(0), 0);
    EXPECT_EQ(runtime_.open_stream(&stream_), 0);
  }
  ~Launch() {
    for (void* memory : taken_) runtime_.release(memory);
    runtime_.close_stream(stream_);
  }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;

  std::vector<Data> run(const std::vector<Case>& cases) {
    ViewTable table;
    std::vector<std::pair<std::uint8_t*, std::size_t>> rows;
    for (const Case& each : cases) {
      Surface surface{each.shape, nullptr, std::size_t{each.shape.channels} * each.shape.width + kGap};
      surface.pixels = upload(spread(each, surface.pitch));
      std::vector<DeviceTarget> targets;
      for (const ImageView& view : each.views) {
        const auto bytes = static_cast<std::size_t>(view.row_bytes());
        rows.emplace_back(upload(Data(bytes, 0xAA)), bytes);
        targets.push_back({&view, rows.back().first});
      }
      const Status added = table.add(surface, targets);
      EXPECT_TRUE(added.ok()) << added.message();
    }
    Data bytes(table.size_bytes());
    table.write(bytes);
    const std::uint8_t* const uploaded = upload(bytes);
    EXPECT_EQ(runtime_.launch(uploaded, table.layout(), stream_), 0);
    std::vector<Data> out;
    for (const auto& [row, size] : rows) {
      out.emplace_back(size);
      EXPECT_EQ(runtime_.copy(out.back().data(), row, size, stream_), 0);
    }
    EXPECT_EQ(runtime_.wait(stream_), 0);
    return out;
  }

 private:
  // The samples with the surface's pitch, and not a byte more.
  static Data spread(const Case& each, std::size_t pitch) {
    const std::size_t row = std::size_t{each.shape.channels} * each.shape.width;
    Data out(pitch * (each.shape.height - 1) + row, 0x55);
    for (std::size_t y = 0; y < each.shape.height; ++y) {
      std::memcpy(out.data() + pitch * y, each.samples.data() + row * y, row);
    }
    return out;
  }

  std::uint8_t* upload(const Data& bytes) {
    void* memory = nullptr;
    EXPECT_EQ(runtime_.allocate(&memory, bytes.size()), 0);
    taken_.push_back(memory);
    EXPECT_EQ(runtime_.copy(memory, bytes.data(), bytes.size(), stream_), 0);
    EXPECT_EQ(runtime_.wait(stream_), 0);
    return static_cast<std::uint8_t*>(memory);
  }

  cuda::Runtime& runtime_;
  void* stream_ = nullptr;
  std::vector<void*> taken_;
};

// Everywhere the emulated device, and the true one where there is one.
class ViewKernel : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!GetParam()) return;
    const DeviceFacts facts = look_for_device({});
    if (!facts.problem.empty()) GTEST_SKIP() << "the kernel itself was not run: " << facts.problem;
  }
  void expect_reference(const std::vector<Case>& cases) {
    cuda::Runtime& runtime = GetParam() ? *cuda::cuda_runtime() : emulated_;
    Launch launch(runtime);
    const std::vector<Data> rows = launch.run(cases);
    std::size_t row = 0;
    for (const Case& each : cases) {
      for (const ImageView& view : each.views) {
        ASSERT_EQ(rows[row++], reference_view(each.shape, each.samples, view))
            << testing::describe(each.shape, view);
      }
    }
  }

 private:
  testing::EmulatedRuntime emulated_;
};

Case drawn(Draws& draws, const FrameShape& shape, std::vector<ImageView> views) {
  return {shape, draws.samples(std::size_t{shape.channels} * shape.width * shape.height), std::move(views)};
}

TEST_P(ViewKernel, EqualsTheReferenceForEveryOrientationFilterAndMode) {
  Draws draws(11);
  for (std::uint8_t orientation = 1; orientation <= 8; ++orientation) {
    std::vector<Case> cases;
    for (const Filter filter : kFilters) {
      for (const ResizeMode mode : kModes) {
        const std::int32_t sizes[][4] = {{40, 27, 12, 12}, {27, 40, 12, 12}, {9, 7, 31, 22},
                                         {33, 21, 33, 10}, {15, 90, 14, 5},  {90, 15, 5, 14},
                                         {17, 13, 17, 13}, {100, 70, 37, 19}};
        for (const auto& [width, height, to_width, to_height] : sizes) {
          const FrameShape shape = {static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height),
                                    orientation};
          cases.push_back(drawn(draws, shape,
                                {{.width = to_width, .height = to_height, .mode = mode, .filter = filter}}));
        }
      }
    }
    expect_reference(cases);
  }
}

TEST_P(ViewKernel, ManyPicturesOfDifferentSizesWithSeveralViewsInOneLaunch) {
  Draws draws(12);
  for (int round = 0; round < 12; ++round) {
    std::vector<Case> cases;
    for (int i = 0; i < 10; ++i) {
      const std::int32_t side = i == 0 ? 300 : 70;
      std::vector<ImageView> views(static_cast<std::size_t>(draws.between(1, 3)));
      for (ImageView& view : views) view = draws.view(side);
      cases.push_back(drawn(draws, draws.shape(side), std::move(views)));
    }
    expect_reference(cases);
  }
}

TEST_P(ViewKernel, EverySmallSizeEqualsTheReference) {
  Draws draws(13);
  std::vector<Case> cases;
  for (std::uint32_t in = 1; in <= 20; ++in) {
    for (std::int32_t out = 1; out <= 20; ++out) {
      const FrameShape shape = {in, 21 - in, static_cast<std::uint8_t>(draws.between(1, 8))};
      cases.push_back(drawn(draws, shape, {{.width = out, .height = 21 - out, .filter = kFilters[out % 5]}}));
    }
  }
  expect_reference(cases);
}

TEST_P(ViewKernel, ExtremeSidesEqualTheReference) {
  Draws draws(14);
  std::vector<Case> cases;
  for (const std::uint8_t orientation : {1, 3, 6}) {
    for (const FrameShape& shape : {FrameShape{65'535, 2, orientation}, FrameShape{2, 65'535, orientation},
                                    FrameShape{4000, 30, orientation}, FrameShape{30, 4000, orientation},
                                    FrameShape{1, 1, orientation}}) {
      cases.push_back(drawn(draws, shape,
                            {{.width = 5, .height = 3, .filter = Filter::kLanczos},
                             {.width = 1, .height = 1, .filter = Filter::kBicubic},
                             {.width = 64, .height = 64, .mode = ResizeMode::kContain}}));
    }
  }
  expect_reference(cases);
}

TEST_P(ViewKernel, TheViewsOfTheServersHeadsEqualTheReference) {
  Draws draws(15);
  const std::vector<ImageView> views = {
      {.width = 256, .height = 256, .crop_width = 224, .crop_height = 224, .color = ColorOrder::kBgr},
      {.width = 320, .height = 320, .mode = ResizeMode::kContain, .layout = Layout::kNchw}};
  expect_reference({drawn(draws, {640, 427}, views), drawn(draws, {427, 640, 6}, views)});
}

INSTANTIATE_TEST_SUITE_P(Emulated, ViewKernel, ::testing::Values(false));
INSTANTIATE_TEST_SUITE_P(OnADevice, ViewKernel, ::testing::Values(true));

TEST(ViewTableTest, RefusesWhatTheRendererRefusesAndStaysAsItWas) {
  ViewTable table;
  std::uint8_t pixel[4] = {};
  std::uint8_t row[3] = {};
  const ImageView one = {.width = 1, .height = 1};
  const ImageView none = {.width = 0, .height = 1};
  const DeviceTarget good = {&one, row};
  const DeviceTarget bad[] = {good, {&none, row}};
  ASSERT_TRUE(table.add({{1, 1}, pixel, 3}, {&good, 1}).ok());
  const std::size_t bytes = table.size_bytes();

  EXPECT_EQ(table.add({{1, 1}, pixel, 3}, bad).code(), Code::kInvalidArgument);
  EXPECT_EQ(table.add({{1, 1, 1, 2}, pixel, 3}, {&good, 1}).code(), Code::kInvalidArgument);
  EXPECT_EQ(table.add({{0, 1}, pixel, 3}, {&good, 1}).code(), Code::kInvalidArgument);
  EXPECT_EQ(table.add({{300'000, 1}, pixel, 900'000}, {&good, 1}).code(), Code::kTooLarge);
  EXPECT_EQ(table.size_bytes(), bytes);
}

TEST(ViewTableTest, TilesOfAllViewsLieInTheOrderOfTheLinesThatTheyRead) {
  ViewTable table;
  const ImageView one = {.width = 64, .height = 64};
  const ImageView other = {.width = 100, .height = 40};
  std::vector<std::uint8_t> rows(static_cast<std::size_t>(one.row_bytes() + other.row_bytes()));
  const DeviceTarget targets[] = {{&one, rows.data()}, {&other, rows.data() + one.row_bytes()}};
  ASSERT_TRUE(table.add({{300, 400}, nullptr, 900}, targets).ok());

  Data bytes(table.size_bytes());
  table.write(bytes);
  const cuda::TableLayout layout = table.layout();
  const auto* tiles = reinterpret_cast<const cuda::Tile*>(bytes.data() + layout.tiles);
  bool interleaved = false;
  for (std::uint32_t i = 1; i < layout.tile_count; ++i) {
    EXPECT_LE(tiles[i - 1].begin, tiles[i].begin);
    interleaved = interleaved || tiles[i].job < tiles[i - 1].job;
  }
  EXPECT_TRUE(interleaved);
}

}  // namespace
}  // namespace floodgate
