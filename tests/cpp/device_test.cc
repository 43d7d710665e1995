// Pictures go to the device where it takes them, to the CPU where it does not, and every row comes, whatever
// fails. The device is emulated: its kernel's arithmetic is the true one, nvJPEG's place is the CPU's
// decoder's.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "device_harness.h"

namespace floodgate {
namespace {

using testing::Data;
using testing::DeviceBench;
using testing::EmulatedJpegFaults;
using testing::EmulatedJpegLibrary;
using testing::EmulatedRuntime;
using testing::jpeg;
using testing::small_device;

void submit_mixture(DeviceBench& bench) {
  for (std::uint32_t i = 0; i < 6; ++i) bench.submit(jpeg(30 + 7 * i, 60 - 5 * i));
  bench.submit(testing::png(33, 21));
  bench.submit(jpeg(31, 17, {.channels = 1}));
  bench.submit(testing::webp(40, 20));
}

TEST(Device, EveryRowIsTheCpusAndLiesInDeviceMemory) {
  DeviceBench bench;
  submit_mixture(bench);
  bench.expect_every_row();
  EXPECT_EQ(bench.stats().pictures, 7u);
  EXPECT_GT(bench.stats().busy_ns, 0u);
  EXPECT_EQ(bench.stats().rows_staged, 4u);  // of PNG and WebP, two views each
  EXPECT_GT(bench.rows_on_device, 0);
  EXPECT_EQ(bench.rows_on_host, 0);
  EXPECT_FALSE(bench.stats().lost);
}

TEST(Device, WhatNvjpegRefusesIsDecodedOnTheCpuAndCounted) {
  DeviceBench bench;
  bench.jpeg.refused_width = 37;
  submit_mixture(bench);
  bench.expect_every_row();
  EXPECT_EQ(bench.fallbacks(DeviceFallback::kRefused), 1u);
  EXPECT_EQ(bench.stats().pictures, 6u);
  EXPECT_EQ(bench.rows_on_host, 0);
}

TEST(Device, JpegsOfOtherKindsAreTheCpus) {
  DeviceBench bench;
  bench.submit(jpeg(40, 30, {.progressive = true}));
  bench.submit(jpeg(40, 30, {.channels = 4}));
  bench.submit(jpeg(40, 30, {.separate_scans = true}));
  bench.expect_every_row();
  EXPECT_EQ(bench.stats().pictures, 0u);
}

TEST(Device, APictureThatNeedsMoreMemoryThanThereIsGoesToTheCpu) {
  DeviceOptions options = small_device();
  options.memory_bytes = 2 << 20;  // one MiB a stream
  DeviceBench bench(options);
  bench.submit(jpeg(700, 600));
  bench.submit(jpeg(70, 60));
  bench.expect_every_row();
  EXPECT_EQ(bench.fallbacks(DeviceFallback::kTooLarge), 1u);
  EXPECT_EQ(bench.stats().pictures, 1u);
}

TEST(Device, NvjpegWithoutMemoryPasses) {
  DeviceBench bench;
  bench.jpeg.no_memory = true;
  bench.submit(jpeg(40, 30));
  bench.expect_every_row();
  EXPECT_EQ(bench.fallbacks(DeviceFallback::kNoMemory), 1u);
  EXPECT_FALSE(bench.stats().lost);
  bench.jpeg.no_memory = false;
  bench.submit(jpeg(40, 30));
  bench.expect_every_row();
  EXPECT_EQ(bench.stats().pictures, 1u);
}

TEST(Device, APictureThatNvjpegFailsAtIsDecodedOnTheCpuAndTheDeviceLives) {
  DeviceBench bench;
  bench.jpeg.fails = true;
  submit_mixture(bench);
  bench.expect_every_row();
  EXPECT_FALSE(bench.stats().lost);
  EXPECT_EQ(bench.fallbacks(DeviceFallback::kRefused), 7u);
  bench.jpeg.fails = false;
  bench.submit(jpeg(40, 30));
  bench.expect_every_row();
  EXPECT_EQ(bench.stats().pictures, 1u);
}

TEST(Device, AFailureInsideNvjpegThatTheDeviceKnowsOfEndsIt) {
  DeviceBench bench;
  bench.jpeg.fails = true;
  bench.runtime.fail("wait", cuda::kIllegalAddress);
  submit_mixture(bench);
  bench.expect_every_row();
  EXPECT_TRUE(bench.stats().lost);
  EXPECT_GE(bench.fallbacks(DeviceFallback::kLost), 1u);
  EXPECT_EQ(bench.fallbacks(DeviceFallback::kRefused), 0u);
  EXPECT_NE(bench.stats().problem.find("nvJPEG"), std::string::npos) << bench.stats().problem;
}

// Answers nobody: the test looks at batches alone.
class Silent final : public Submitter {
  void answered(Done) override {}
  void released(std::uint64_t, bool, const std::optional<Sha256>&) override {}
};

TEST(Device, BytesOfAnotherProcessAreReadOnceAndNoLaterChangeCounts) {
  const auto arena = SharedRegion::anonymous(1 << 16).value();
  SchedulerOptions scheduling;
  scheduling.foreign_arenas = {arena};
  DeviceBench bench(small_device(), std::move(scheduling));
  const Data photo = jpeg(64, 48);
  std::ranges::copy(photo, arena->bytes().begin());
  bench.jpeg.before_decode = [&] { std::ranges::fill(arena->bytes(), std::uint8_t{0xFF}); };
  Submission submission;
  submission.ticket = 99;
  submission.ensembles = {"image@test"};
  submission.foreign =
      ForeignBytes{std::make_shared<Silent>(), 0, {0, photo.size()}, probe(photo, {}).value()};
  ASSERT_TRUE(bench.bench->scheduler->submit(submission).ok());
  bench.sent.push_back(photo);
  bench.expect_every_row();
  EXPECT_EQ(bench.stats().pictures, 1u);
}

struct Failure {
  std::string call;
  int error;
  int after;
};

class DeviceFailure : public ::testing::TestWithParam<Failure> {};

TEST_P(DeviceFailure, LosesNoRow) {
  const Failure& failure = GetParam();
  DeviceBench bench;
  bench.runtime.fail(failure.call, failure.error, failure.after);
  submit_mixture(bench);
  bench.expect_every_row();
  EXPECT_EQ(bench.stats().lost, cuda::ends_device(failure.error));
  if (!bench.stats().lost) return;
  EXPECT_NE(bench.stats().problem.find("CUDA: "), std::string::npos);
  // From here on the device is asked for nothing.
  const std::uint64_t pictures = bench.stats().pictures;
  submit_mixture(bench);
  bench.rows_on_device = 0;
  bench.expect_every_row();
  EXPECT_EQ(bench.stats().pictures, pictures);
  EXPECT_EQ(bench.rows_on_device, 0);
}

std::vector<Failure> failures() {
  std::vector<Failure> all;
  for (const char* call : {"copy", "launch", "wait"}) {
    for (const int after : {0, 1, 5}) {
      if (std::string(call) == "launch" && after > 1) continue;  // there may be few
      for (const int error : {cuda::kEccUncorrectable, cuda::kContextIsDestroyed, cuda::kLaunchFailure}) {
        all.push_back({call, error, after});
      }
    }
    all.push_back({call, cuda::kMemoryAllocation, 0});
  }
  all.push_back({"allocate", cuda::kMemoryAllocation, 0});
  all.push_back({"allocate", cuda::kIllegalAddress, 0});
  all.push_back({"allocate_pinned", cuda::kMemoryAllocation, 0});
  all.push_back({"allocate_pinned", cuda::kEccUncorrectable, 0});
  all.push_back({"use", cuda::kEccUncorrectable, 3});
  return all;
}

INSTANTIATE_TEST_SUITE_P(Everywhere, DeviceFailure, ::testing::ValuesIn(failures()), [](const auto& each) {
  return each.param.call + "_" + std::to_string(each.param.error) + "_after_" +
         std::to_string(each.param.after);
});

// What is called for each batch buffer and not for each picture.
TEST(Device, BuffersThatCannotBeMirroredStayOnTheHost) {
  struct Call {
    const char* name;
    int error;
    bool on_device;
  };
  const std::vector<Call> calls = {
      {"allocate", cuda::kMemoryAllocation, false},
      {"share", cuda::kMemoryAllocation, false},
      {"share", cuda::kEccUncorrectable, false},
      {"open_stream", cuda::kMemoryAllocation, false},
      {"open_stream", cuda::kIllegalAddress, false},
      {"pin", cuda::kMemoryAllocation, true},  // copies are slower then
      {"pin", cuda::kLaunchFailure, true},
  };
  for (const Call& call : calls) {
    SCOPED_TRACE(call.name + (" " + std::to_string(call.error)));
    DeviceBench bench;
    bench.runtime.fail(call.name, call.error);
    ASSERT_TRUE(bench.bench->scheduler->configure(2, {testing::looking_ensemble()}).ok());
    submit_mixture(bench);
    bench.expect_every_row();
    EXPECT_EQ(bench.rows_on_device > 0, call.on_device);
    EXPECT_EQ(bench.stats().lost, !call.on_device && cuda::ends_device(call.error));
  }
}

TEST(Device, GivesBackAllItTook) {
  EmulatedRuntime runtime;
  const EmulatedJpegFaults faults;
  std::vector<std::uint8_t> host(100);
  std::uint8_t* first = nullptr;
  {
    auto device =
        cuda::CudaDevice::open(runtime, std::make_unique<EmulatedJpegLibrary>(faults), small_device());
    ASSERT_TRUE(device.ok());
    auto region = device.value()->mirror(host);
    first = region->address();
    region.reset();
    // Another process may have it open still: the next region of its size gets it again.
    EXPECT_EQ(device.value()->mirror(host)->address(), first);
    EXPECT_NE(device.value()->mirror(std::span(host).first(50))->address(), first);
  }
  EXPECT_EQ(runtime.held(), 0);
}

TEST(Device, WaitingPicturesGoInOneBatch) {
  testing::Gate gate;
  EmulatedRuntime runtime;
  runtime.before_launch = [&] { gate.pass(); };
  const EmulatedJpegFaults faults;
  DeviceOptions options = small_device();
  options.streams = 1;
  auto opened = cuda::CudaDevice::open(runtime, std::make_unique<EmulatedJpegLibrary>(faults), options);
  ASSERT_TRUE(opened.ok());
  auto& device = static_cast<cuda::CudaDevice&>(*opened.value());
  constexpr std::size_t kThreads = 16;
  const Data data = jpeg(120, 90);
  const auto info = probe(data, {});
  const ImageView view = {.width = 32, .height = 32};
  std::vector<Data> rows(kThreads, Data(static_cast<std::size_t>(view.row_bytes())));
  std::vector<std::thread> threads;
  for (Data& row : rows) {
    threads.emplace_back([&] {
      const DeviceRow target = {&view, row, nullptr, 0};
      EXPECT_TRUE(device.render(data, info.value(), {&target, 1}).ok());
    });
    // The first one is under way before the others come.
    if (threads.size() == 1) gate.await(1);
  }
  while (device.waiting() < kThreads - 1) std::this_thread::yield();
  gate.open();
  for (std::thread& thread : threads) thread.join();
  for (const Data& row : rows) EXPECT_EQ(row, rows[0]);
  EXPECT_EQ(device.stats().pictures, kThreads);
  EXPECT_EQ(device.stats().batches, 2u);
  EXPECT_EQ(runtime.launches(), 2);
}

TEST(Device, OptionsThatCannotBeAreRefusedByName) {
  EmulatedRuntime runtime;
  const EmulatedJpegFaults faults;
  const auto refusal = [&](const DeviceOptions& options) {
    auto opened = cuda::CudaDevice::open(runtime, std::make_unique<EmulatedJpegLibrary>(faults), options);
    EXPECT_EQ(opened.status().code(), Code::kInvalidArgument);
    return opened.status().message();
  };
  EXPECT_NE(refusal({.ordinal = -1}).find("ordinal"), std::string::npos);
  EXPECT_NE(refusal({.streams = 0}).find("streams"), std::string::npos);
  EXPECT_NE(refusal({.max_batch = 0}).find("max_batch"), std::string::npos);
  EXPECT_NE(refusal({.memory_bytes = 1}).find("memory_bytes"), std::string::npos);
}

TEST(Device, OneThatCannotBeOpenedSaysWhy) {
  for (const char* call : {"use", "allocate", "open_stream"}) {
    EmulatedRuntime runtime;
    runtime.fail(call, cuda::kMemoryAllocation);
    const EmulatedJpegFaults faults;
    auto opened =
        cuda::CudaDevice::open(runtime, std::make_unique<EmulatedJpegLibrary>(faults), small_device());
    EXPECT_FALSE(opened.ok()) << call;
    EXPECT_NE(opened.status().message().find("out of memory"), std::string::npos) << call;
    EXPECT_EQ(runtime.held(), 0) << call;
  }
}

TEST(DeviceSearch, SaysWhatIsMissing) {
  const auto problem = [](int driver, int devices) {
    EmulatedRuntime runtime;
    runtime.driver = driver;
    runtime.devices = devices;
    return cuda::look_for_device(&runtime, {}).problem;
  };
  EXPECT_EQ(problem(13'000, 1), "");
  EXPECT_EQ(problem(13'020, 1), "");
  EXPECT_EQ(problem(0, 1), "there is no NVIDIA driver");
  EXPECT_EQ(problem(12'040, 1), "the NVIDIA driver is too old: it runs CUDA up to 12.4, this needs 13.0");
  EXPECT_EQ(problem(13'000, 0), "there is no CUDA device");
  EXPECT_EQ(cuda::look_for_device(nullptr, {}).problem, "this was built without CUDA");
  EmulatedRuntime runtime;
  EXPECT_EQ(cuda::look_for_device(&runtime, {.ordinal = 1}).problem, "there is no device 1, only 1");
}

TEST(DeviceSearch, SaysWhatTheRuntimeAnswersInstead) {
  const auto problem = [](const char* call) {
    EmulatedRuntime runtime;
    runtime.fail(call, cuda::kEccUncorrectable);
    return cuda::look_for_device(&runtime, {}).problem;
  };
  EXPECT_EQ(problem("driver_version"), "there is no NVIDIA driver");
  EXPECT_EQ(problem("device_count"), "CUDA: looking for devices: an emulated failure (error 214)");
  EXPECT_EQ(problem("properties"), "CUDA: asking about the device: an emulated failure (error 214)");
}

TEST(DeviceSearch, ALibraryThatIsNotNvjpegIsRefused) {
  const auto nowhere = cuda::load_nvjpeg("/nowhere/libnvjpeg.so.13");
  EXPECT_EQ(nowhere.status().code(), Code::kUnavailable);
  const auto other = cuda::load_nvjpeg("libm.so.6");
  EXPECT_EQ(other.status().message(),
            "libm.so.6 is not nvJPEG as it is known here: it has no nvjpegGetProperty");
}

TEST(JpegSuitability, TakesWholeBaselineJpegsOfUsualColoursOnly) {
  const Data good = jpeg(40, 30);
  EXPECT_TRUE(cuda::suits_device(good));
  EXPECT_TRUE(cuda::suits_device(jpeg(40, 30, {.channels = 1})));
  EXPECT_TRUE(cuda::suits_device(jpeg(40, 30, {.restart_rows = 1})));
  EXPECT_FALSE(cuda::suits_device(jpeg(40, 30, {.progressive = true})));
  EXPECT_FALSE(cuda::suits_device(jpeg(40, 30, {.channels = 4})));
  EXPECT_FALSE(cuda::suits_device(jpeg(40, 30, {.separate_scans = true})));
  EXPECT_FALSE(cuda::suits_device(testing::png(40, 30)));
  for (std::size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(cuda::suits_device(std::span(good).first(size))) << "cut after " << size << " bytes";
  }
}

}  // namespace
}  // namespace floodgate
