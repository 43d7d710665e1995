#include <algorithm>
#include <set>
#include <utility>

#include "core.h"

namespace floodgate {
namespace {

std::vector<TensorLayout> layouts(const EnsembleConfig& config) {
  std::vector<TensorLayout> layouts;
  for (const TensorConfig& tensor : config.tensors) {
    if (const auto* view = std::get_if<ImageView>(&tensor.view)) {
      const std::int64_t width = view->out_width();
      const std::int64_t height = view->out_height();
      using Shape = std::vector<std::int64_t>;
      const Shape shape = view->layout == Layout::kNhwc ? Shape{height, width, 3} : Shape{3, height, width};
      layouts.push_back({tensor.name, DType::kUint8, shape, false});
    } else {
      layouts.push_back({tensor.name, DType::kUint8, {std::get<TextView>(tensor.view).max_bytes()}, true});
      layouts.push_back({tensor.name + "_length", DType::kInt32, {1}, false});
    }
  }
  return layouts;
}

Result<std::unique_ptr<Generation>> build(std::uint64_t number, std::vector<EnsembleConfig> configs,
                                          const ServiceModel& initial_model,
                                          const std::shared_ptr<Device>& device) {
  if (configs.empty() || configs.size() > kMaxEnsembles) {
    return Status(Code::kInvalidArgument, "a generation has from 1 to 32 ensembles");
  }
  std::set<std::string> names;
  auto generation = std::make_unique<Generation>();
  generation->number = number;
  for (EnsembleConfig& config : configs) {
    if (Status checked = validate(config); !checked.ok()) return checked;
    if (!names.insert(config.name).second) {
      return Status(Code::kInvalidArgument, "ensemble " + config.name + " is there twice");
    }
    // Text is read by heads on the CPU.
    auto pool = BufferPool::create({number, layouts(config), config.max_batch, config.buffers,
                                    config.modality == Modality::kImage ? device : nullptr});
    if (!pool.ok()) return pool.status();
    auto ensemble = std::make_unique<Ensemble>();
    ensemble->generation = generation.get();
    ensemble->index = static_cast<std::uint32_t>(generation->ensembles.size());
    ensemble->pool = std::move(pool).value();
    ensemble->fit = ServiceFit(initial_model);
    ensemble->slots.resize(config.max_batch);
    ensemble->config = std::make_shared<const EnsembleConfig>(std::move(config));
    generation->ensembles.push_back(std::move(ensemble));
  }
  return generation;
}

}  // namespace

Status Scheduler::Core::configure(std::uint64_t number, std::vector<EnsembleConfig> ensembles) {
  const auto admissible = [&]() -> Status {
    if (draining_) return Status(Code::kUnavailable, "the scheduler is draining");
    if (number <= last_generation_) {
      return Status(Code::kInvalidArgument, "generation " + std::to_string(number) +
                                                " is not above generation " +
                                                std::to_string(last_generation_));
    }
    return {};
  };
  {
    const std::lock_guard lock(mu_);
    if (Status checked = admissible(); !checked.ok()) return checked;
  }
  auto built = build(number, std::move(ensembles), options_.initial_model, options_.device);
  if (!built.ok()) return built.status();
  const std::lock_guard lock(mu_);
  if (Status checked = admissible(); !checked.ok()) return checked;
  last_generation_ = number;
  for (const auto& older : generations_) older->retired = true;
  for (const auto& ensemble : built.value()->ensembles) {
    ensemble->device_usage = &device_usage_[ensemble->config->device];
  }
  generations_.push_back(std::move(built).value());
  wake_dispatcher_locked();
  return {};
}

std::vector<Generation*> Scheduler::Core::generations_locked() const {
  std::vector<Generation*> all;
  for (const auto& generation : generations_) all.push_back(generation.get());
  return all;
}

std::vector<std::unique_ptr<Generation>> Scheduler::Core::take_finished_locked() {
  const auto first = std::stable_partition(generations_.begin(), generations_.end(),
                                           [](const auto& generation) { return !generation->finished(); });
  std::vector<std::unique_ptr<Generation>> finished(std::make_move_iterator(first),
                                                    std::make_move_iterator(generations_.end()));
  generations_.erase(first, generations_.end());
  return finished;
}

Status Scheduler::Core::region_lost(std::optional<std::uint64_t> number) {
  std::vector<Generation*> lost;
  {
    const std::lock_guard lock(mu_);
    for (Generation* generation : generations_locked()) {
      if (number && generation->number != *number) continue;
      ++generation->pins;
      lost.push_back(generation);
    }
  }
  Status outcome;
  std::map<const Ensemble*, std::shared_ptr<SharedRegion>> fresh;
  for (const Generation* generation : lost) {
    for (const auto& ensemble : generation->ensembles) {
      auto region = ensemble->pool->fresh_region();
      if (region.ok()) {
        fresh[ensemble.get()] = std::move(region).value();
      } else {
        outcome = region.status();
      }
    }
  }
  // Regions that nothing refers to any more are unmapped after the lock is gone; then idle workers let go
  // too.
  std::vector<std::shared_ptr<SharedRegion>> old;
  Lock lock(mu_);
  for (Generation* generation : lost) {
    --generation->pins;
    for (const auto& ensemble : generation->ensembles) {
      const auto region = fresh.find(ensemble.get());
      if (region != fresh.end()) old.push_back(ensemble->pool->adopt_region(region->second));
    }
  }
  for (auto batch = batches_.begin(); batch != batches_.end();) {
    const auto next = std::next(batch);
    BatchRecord& record = *batch->second;
    const bool held = record.state != BatchState::kClosed;
    if (held && std::find(lost.begin(), lost.end(), record.ensemble->generation) != lost.end()) {
      if (record.state == BatchState::kInFlight) {
        ++counters_.batches_lost;
        forget_open_locked(record);
        lose_rows_locked(record, Code::kUnavailable, "the inference server was lost");
      }
      free_batch_locked(batch);
    }
    batch = next;
  }
  wake_dispatcher_locked();
  lock.unlock();
  old.clear();
  work_cv_.notify_all();
  return outcome;
}

}  // namespace floodgate
