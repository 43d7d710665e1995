#include <array>
#include <utility>
#include <vector>

#include "floodgate/decode_worker.h"

namespace floodgate {
namespace {

bool inside(std::uint64_t offset, std::uint64_t bytes, std::uint64_t size) {
  return offset <= size && bytes <= size - offset;
}

class Worker final : public DecodeWorker {
 public:
  Worker(Device& device, std::unique_ptr<DecodeWorker> other, std::span<const std::uint8_t> arena,
         std::uint64_t own_bytes)
      : device_(device), other_(std::move(other)), arena_(arena), own_bytes_(own_bytes) {}

  DecodeResult run(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions) override {
    DecodeResult result;
    if (takes(job, regions) && on_device(job, regions, result)) return result;
    result = other_->run(job, regions);
    if (result.code == Code::kOk && result.step == StepKind::kFrame) stage(job, regions);
    return result;
  }

  void idle() override { other_->idle(); }

 private:
  [[nodiscard]] bool takes(const DecodeJob& job,
                           std::span<const std::shared_ptr<SharedRegion>> regions) const {
    // A scaled decode is libjpeg's own.
    if (job.kind != DecodeJob::Kind::kPicture || job.options.decode_min != 0) return false;
    if (!device_.takes(job.info) || !inside(job.input.offset, job.input.size, arena_.size())) return false;
    if (job.target_count > kMaxTargets) return false;
    for (std::uint32_t i = 0; i < job.target_count; ++i) {
      const RowTarget& target = job.targets[i];
      if (target.region >= regions.size() ||
          !inside(target.offset, target.bytes, regions[target.region]->bytes().size())) {
        return false;
      }
    }
    return true;
  }

  bool on_device(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions,
                 DecodeResult& result) {
    const Nanos start = monotonic_now();
    const Nanos cpu_start = thread_cpu_now();
    std::array<DeviceRow, kMaxTargets> rows;
    for (std::uint32_t i = 0; i < job.target_count; ++i) {
      const RowTarget& target = job.targets[i];
      const SharedRegion& region = *regions[target.region];
      DeviceRegion* const mirror = region.device();
      rows[i].view = &target.view;
      rows[i].row = region.bytes().subspan(target.offset, target.bytes);
      rows[i].region = mirror != nullptr && mirror->valid() ? mirror : nullptr;
      rows[i].offset = target.offset;
    }
    auto encoded = arena_.subspan(job.input.offset, job.input.size);
    std::vector<std::uint8_t> copy;
    if (job.input.offset >= own_bytes_) {
      copy.assign(encoded.begin(), encoded.end());
      encoded = copy;
    }
    if (!device_.render(encoded, job.info, {rows.data(), job.target_count}).ok()) return false;
    result.decode_ns = monotonic_now() - start;
    result.cpu_ns = thread_cpu_now() - cpu_start;
    return true;
  }

  // Copies what was rendered here to where the inference server will read it.
  void stage(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions) {
    std::uint64_t staged = 0;
    for (std::uint32_t i = 0; i < job.target_count; ++i) {
      const RowTarget& target = job.targets[i];
      DeviceRegion* const mirror = regions[target.region]->device();
      if (mirror == nullptr) continue;
      mirror->upload(target.offset, target.bytes);
      if (mirror->wait()) ++staged;
    }
    if (staged > 0) device_.count_staged(staged);
  }

  Device& device_;
  const std::unique_ptr<DecodeWorker> other_;
  const std::span<const std::uint8_t> arena_;
  const std::uint64_t own_bytes_;
};

class Workers final : public DecodeWorkers {
 public:
  Workers(std::shared_ptr<Device> device, std::unique_ptr<DecodeWorkers> others,
          std::span<const std::uint8_t> arena, std::uint64_t own_bytes)
      : device_(std::move(device)), others_(std::move(others)), arena_(arena), own_bytes_(own_bytes) {}

  Result<std::unique_ptr<DecodeWorker>> make_worker() override {
    auto other = others_->make_worker();
    if (!other.ok()) return other.status();
    return std::unique_ptr<DecodeWorker>(
        std::make_unique<Worker>(*device_, std::move(other).value(), arena_, own_bytes_));
  }
  [[nodiscard]] WorkerLosses losses() const override { return others_->losses(); }

 private:
  const std::shared_ptr<Device> device_;
  const std::unique_ptr<DecodeWorkers> others_;
  const std::span<const std::uint8_t> arena_;
  const std::uint64_t own_bytes_;
};

}  // namespace

std::unique_ptr<DecodeWorkers> device_workers(std::shared_ptr<Device> device,
                                              std::unique_ptr<DecodeWorkers> others,
                                              std::span<const std::uint8_t> arena, std::uint64_t own_bytes) {
  return std::make_unique<Workers>(std::move(device), std::move(others), arena, own_bytes);
}

}  // namespace floodgate
