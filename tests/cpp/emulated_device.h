// A CUDA device emulated on the CPU: its memory is ours, and its kernel is the true kernel's arithmetic,
// block by block and thread by thread. Any call can be made to fail, once or from then on.
#pragma once

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/error.h"
#include "cuda/runtime.h"
#include "cuda/view_tile.h"

namespace floodgate::testing {

// What the blocks of a launch do, in any order; a barrier is the end of a loop over the threads.
inline void emulate_block(const cuda::ViewJob* jobs, const cuda::Tile& tile, const std::int32_t* tables) {
  const cuda::ViewJob& job = jobs[tile.job];
  if (tile.padding) {
    for (int thread = 0; thread < cuda::kThreads; ++thread) cuda::pad(job, tile, thread);
    return;
  }
  // Poisoned, so that what was never written shows.
  std::vector<std::uint32_t> mid(cuda::kMidWords, 0xDEADBEEF);
  std::vector<cuda::Sums> sums(cuda::kThreads);
  for (auto& each : sums) cuda::clear(each);
  for (std::int32_t line = tile.begin; line < tile.end; line += cuda::kLines) {
    for (int thread = 0; thread < cuda::kThreads; ++thread) {
      cuda::first_pass(job, tile, tables, line, thread, mid.data());
    }
    for (int thread = 0; thread < cuda::kThreads; ++thread) {
      cuda::second_pass(job, tile, tables, line, thread, mid.data(), sums[static_cast<std::size_t>(thread)]);
    }
  }
  for (int thread = 0; thread < cuda::kThreads; ++thread) {
    cuda::store(job, tile, thread, sums[static_cast<std::size_t>(thread)]);
  }
}

inline void emulate_launch(const std::uint8_t* table, const cuda::TableLayout& layout) {
  const auto* jobs = reinterpret_cast<const cuda::ViewJob*>(table + layout.jobs);
  const auto* tiles = reinterpret_cast<const cuda::Tile*>(table + layout.tiles);
  const auto* tables = reinterpret_cast<const std::int32_t*>(table + layout.tables);
  for (std::uint32_t block = 0; block < layout.tile_count; ++block) emulate_block(jobs, tiles[block], tables);
}

class EmulatedRuntime final : public cuda::Runtime {
 public:
  int toolkit = 13000;
  int driver = 13000;
  int devices = 1;
  std::function<void()> before_launch;

  // From the `after`-th next call named `call` on, `times` calls fail with `error`.
  void fail(const std::string& call, int error, int after = 0, int times = 1 << 30) {
    const std::lock_guard lock(mu_);
    faults_[call] = {error, after, times};
  }
  // Allocations, pins and streams that were not given back.
  [[nodiscard]] int held() const { return held_; }
  [[nodiscard]] int launches() const { return launches_; }

  int toolkit_version() override { return toolkit; }
  int driver_version(int& version) override {
    version = driver;
    return fault("driver_version");
  }
  int device_count(int& count) override {
    count = devices;
    if (driver == 0 || driver < toolkit / 1000 * 1000) return cuda::kInsufficientDriver;
    return devices == 0 ? cuda::kNoDevice : fault("device_count");
  }
  int properties(int, cuda::Properties& properties) override {
    properties = {"an emulated device", 9, 0, std::uint64_t{1} << 30};
    return fault("properties");
  }
  int use(int) override { return fault("use"); }
  int allocate(void** memory, std::size_t bytes) override { return take("allocate", memory, bytes); }
  int release(void* memory) override { return give_back(memory); }
  int allocate_pinned(void** memory, std::size_t bytes) override {
    return take("allocate_pinned", memory, bytes);
  }
  int release_pinned(void* memory) override { return give_back(memory); }
  int pin(void*, std::size_t) override { return hold(fault("pin")); }
  int unpin(void*) override {
    --held_;
    return cuda::kSuccess;
  }
  int share(void* memory, cuda::IpcHandle& handle) override {
    handle.fill(0x5A);
    std::memcpy(handle.data(), &memory, sizeof memory);
    return fault("share");
  }
  int attach(const cuda::IpcHandle& handle, void** memory) override {
    std::memcpy(memory, handle.data(), sizeof *memory);
    return fault("attach");
  }
  int detach(void*) override { return cuda::kSuccess; }
  int open_stream(void** stream) override {
    *stream = this;
    return hold(fault("open_stream"));
  }
  int close_stream(void*) override {
    --held_;
    return cuda::kSuccess;
  }
  int copy(void* to, const void* from, std::size_t bytes, void*) override {
    const int error = fault("copy");
    if (error == cuda::kSuccess) std::memmove(to, from, bytes);
    return error;
  }
  int launch(const std::uint8_t* table, const cuda::TableLayout& layout, void*) override {
    const int error = fault("launch");
    if (error != cuda::kSuccess) return error;
    if (before_launch) before_launch();
    ++launches_;
    emulate_launch(table, layout);
    return error;
  }
  int wait(void*) override { return fault("wait"); }
  const char* explain(int error) override {
    return error == cuda::kMemoryAllocation ? "out of memory" : "an emulated failure";
  }

 private:
  struct Fault {
    int error = 0;
    int after = 0;
    int times = 0;
  };

  int fault(const std::string& call) {
    const std::lock_guard lock(mu_);
    const auto found = faults_.find(call);
    if (found == faults_.end() || found->second.after-- > 0 || found->second.times == 0) {
      return cuda::kSuccess;
    }
    --found->second.times;
    return found->second.error;
  }
  int hold(int error) {
    if (error == cuda::kSuccess) ++held_;
    return error;
  }
  int take(const std::string& call, void** memory, std::size_t bytes) {
    const int error = fault(call);
    if (error == cuda::kSuccess) *memory = std::malloc(bytes);
    return hold(error);
  }
  int give_back(void* memory) {
    std::free(memory);
    --held_;
    return cuda::kSuccess;
  }

  std::mutex mu_;
  std::map<std::string, Fault> faults_;
  std::atomic<int> held_{0};
  std::atomic<int> launches_{0};
};

}  // namespace floodgate::testing
