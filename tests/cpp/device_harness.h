// A scheduler whose pictures go to an emulated device first, and what its tests ask of it.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cuda/cuda_device.h"
#include "emulated_device.h"
#include "emulated_jpeg.h"
#include "encoded_pictures.h"
#include "scheduler_harness.h"

namespace floodgate::testing {

// An ensemble that looks at pictures in two ways and says nothing.
inline EnsembleConfig looking_ensemble() {
  EnsembleConfig config = image_ensemble();
  ImageView small = {.width = 12, .height = 9, .mode = ResizeMode::kContain, .filter = Filter::kBicubic};
  small.pad_color = {9, 8, 7};
  ImageView square = {.width = 20, .height = 20, .mode = ResizeMode::kCover};
  square.layout = Layout::kNchw;
  square.color = ColorOrder::kBgr;
  config.tensors = {{"small", small}, {"square", square}};
  return config;
}

inline DeviceOptions small_device() {
  DeviceOptions options;
  options.memory_bytes = 4 << 20;
  return options;
}

class DeviceBench {
 public:
  explicit DeviceBench(DeviceOptions options = small_device(), SchedulerOptions scheduling = {}) {
    auto opened = cuda::CudaDevice::open(runtime, std::make_unique<EmulatedJpegLibrary>(jpeg), options);
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    device = std::move(opened).value();
    scheduling.decode_workers = 3;
    scheduling.device = device;
    scheduling.probe = probe;
    scheduling.decode = decode_and_render;
    bench = std::make_unique<Bench>(std::move(scheduling), std::vector{looking_ensemble()});
  }

  void submit(Data data) {
    Submission submission;
    submission.ticket = ++last_ticket_;
    submission.ensembles = {"image@test"};
    submission.data = data;
    const Status status = bench->scheduler->submit(submission);
    ASSERT_TRUE(status.ok()) << status.message();
    sent.push_back(std::move(data));
  }

  // Takes batches until every row came, and holds each to what the CPU alone makes of some picture that was
  // sent. Where a tensor is said to lie on the device, it is read there.
  void expect_every_row() {
    std::multimap<std::vector<Data>, bool> expected;
    for (const Data& data : sent) expected.emplace(by_cpu(data), true);
    while (!expected.empty()) {
      const Batch batch = bench->await_batch();
      ASSERT_GT(batch.rows, 0u) << expected.size() << " rows never came";
      for (std::uint32_t row = 0; row < batch.rows; ++row) {
        std::vector<Data> tensors;
        for (const TensorRef& tensor : batch.tensors) tensors.push_back(row_of(tensor, row, batch.rows));
        const auto found = expected.find(tensors);
        ASSERT_NE(found, expected.end()) << "a row that belongs to no picture";
        expected.erase(found);
      }
      ASSERT_TRUE(bench->scheduler->fail_batch(batch.batch_id, Code::kUnavailable, "nobody answers").ok());
    }
    for (std::uint64_t ticket = 1; ticket <= last_ticket_; ++ticket) bench->await_done(ticket);
    bench->expect_everything_free();
    sent.clear();
  }

  DeviceStats stats() const { return *bench->scheduler->stats().device; }
  std::uint64_t fallbacks(DeviceFallback why) const {
    return stats().fallbacks[static_cast<std::size_t>(why)];
  }

  EmulatedRuntime runtime;
  EmulatedJpegFaults jpeg;
  std::shared_ptr<Device> device;
  std::unique_ptr<Bench> bench;
  std::vector<Data> sent;
  int rows_on_device = 0;
  int rows_on_host = 0;

 private:
  static std::vector<Data> by_cpu(const Data& data) {
    const EnsembleConfig config = looking_ensemble();
    std::vector<Data> rows;
    std::vector<RenderTarget> targets;
    for (const TensorConfig& tensor : config.tensors) {
      rows.emplace_back(static_cast<std::size_t>(std::get<ImageView>(tensor.view).row_bytes()));
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
      targets.push_back({&std::get<ImageView>(config.tensors[i].view), rows[i]});
    }
    const auto info = probe(data, {});
    EXPECT_TRUE(info.ok());
    EXPECT_TRUE(decode_and_render(data, info.value(), {}, {}, targets).ok());
    return rows;
  }

  Data row_of(const TensorRef& tensor, std::uint32_t row, std::uint32_t rows) {
    const auto bytes = static_cast<std::size_t>(tensor.bytes) / rows;
    if (tensor.kind == MemoryKind::kCudaShm) {
      ++rows_on_device;
      EXPECT_EQ(tensor.handle.size(), 64u);
      const std::uint8_t* memory = nullptr;  // as the emulated handle says
      std::memcpy(&memory, tensor.handle.data(), sizeof memory);
      const std::uint8_t* const at = memory + tensor.offset + row * bytes;
      return {at, at + bytes};
    }
    ++rows_on_host;
    EXPECT_TRUE(tensor.handle.empty());
    const Mapping mapping(tensor.region);
    const auto at = mapping.bytes(tensor).subspan(row * bytes, bytes);
    return {at.begin(), at.end()};
  }

  std::uint64_t last_ticket_ = 0;
};

}  // namespace floodgate::testing
