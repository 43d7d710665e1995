#include <utility>
#include <vector>

#include "floodgate/decode_worker.h"

namespace floodgate {
namespace {

class ThreadWorker final : public DecodeWorker {
 public:
  ThreadWorker(std::span<const std::uint8_t> arena, DecodeFn decode)
      : arena_(arena), runner_(std::move(decode)) {}

  DecodeResult run(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions) override {
    std::vector<std::span<std::uint8_t>> bytes;
    bytes.reserve(regions.size());
    for (const auto& region : regions) bytes.push_back(region->bytes());
    return runner_.run(job, arena_, bytes);
  }

 private:
  const std::span<const std::uint8_t> arena_;
  DecodeRunner runner_;
};

class ThreadWorkers final : public DecodeWorkers {
 public:
  ThreadWorkers(std::span<const std::uint8_t> arena, DecodeFn decode)
      : arena_(arena), decode_(std::move(decode)) {}

  Result<std::unique_ptr<DecodeWorker>> make_worker() override {
    return std::unique_ptr<DecodeWorker>(std::make_unique<ThreadWorker>(arena_, decode_));
  }

 private:
  const std::span<const std::uint8_t> arena_;
  const DecodeFn decode_;
};

}  // namespace

std::unique_ptr<DecodeWorkers> thread_workers(std::span<const std::uint8_t> arena, DecodeFn decode) {
  return std::make_unique<ThreadWorkers>(arena, std::move(decode));
}

}  // namespace floodgate
