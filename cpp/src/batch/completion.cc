#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core.h"

namespace floodgate {
namespace {

// What the server's answer holds for each output of an ensemble, in the config's order.
struct Answer {
  std::vector<std::span<const float>> outputs;  // empty where the head is missing
  std::vector<MissingHead> missing;             // for every row
};

Answer check(const EnsembleConfig& config, std::size_t rows, std::span<const OutputValues> outputs,
             std::span<const HeadFailure> failures) {
  Answer answer;
  answer.outputs.resize(config.outputs.size());
  for (const std::string& head : config.heads) {
    const auto failed = std::ranges::find(failures, head, &HeadFailure::head);
    std::string reason = failed != failures.end() ? failed->reason : "";
    for (std::size_t i = 0; i < config.outputs.size() && reason.empty(); ++i) {
      if (config.outputs[i].head != head) continue;
      const auto given = std::ranges::find(outputs, config.outputs[i].name, &OutputValues::name);
      if (given == outputs.end() || given->values.size() != rows * config.outputs[i].elements) {
        reason = "bad_output";
      } else {
        answer.outputs[i] = given->values;
      }
    }
    if (reason.empty()) continue;
    answer.missing.push_back({head, reason});
    for (std::size_t i = 0; i < config.outputs.size(); ++i) {
      if (config.outputs[i].head == head) answer.outputs[i] = {};
    }
  }
  return answer;
}

RowScores row_scores(const std::shared_ptr<const EnsembleConfig>& config, const Answer& answer,
                     std::size_t row) {
  constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();
  RowScores scores{config, {}, answer.missing};
  for (std::size_t i = 0; i < config->outputs.size(); ++i) {
    const OutputConfig& output = config->outputs[i];
    if (answer.outputs[i].empty()) {
      scores.values.insert(scores.values.end(), output.elements, kMissing);
      continue;
    }
    const auto values = answer.outputs[i].subspan(row * output.elements, output.elements);
    scores.values.insert(scores.values.end(), values.begin(), values.end());
    const auto finite = [](float value) { return std::isfinite(value); };
    const bool known =
        std::ranges::find(scores.missing, output.head, &MissingHead::head) != scores.missing.end();
    if (!known && !std::ranges::all_of(values, finite)) scores.missing.push_back({output.head, "non_finite"});
  }
  return scores;
}

}  // namespace

std::vector<Batch> Scheduler::Core::take_batches() {
  std::vector<Batch> taken;
  const std::lock_guard lock(mu_);
  const Nanos now = monotonic_now();
  for (const std::uint64_t id : to_take_) {
    const auto found = batches_.find(id);
    BatchRecord& record = *found->second;
    const Ensemble& ensemble = *record.ensemble;
    if (std::ranges::all_of(record.rows, [](const BatchRow& row) { return row.ticket->done; })) {
      ++counters_.batches_dead_unsent;
      forget_open_locked(record);
      free_batch_locked(found);
      continue;
    }
    record.state = BatchState::kInFlight;
    record.started_ns = now;
    (void)ensemble.pool->move(record.buffer, BufferState::kInFlight);
    Batch batch;
    batch.batch_id = id;
    batch.generation = ensemble.generation->number;
    batch.ensemble = ensemble.config->name;
    batch.rows = static_cast<std::uint32_t>(record.rows.size());
    batch.tensors = ensemble.pool->tensor_refs(record.buffer, batch.rows, record.row_length);
    for (const BatchRow& row : record.rows) {
      if (row.ticket->done) {
        ++counters_.rows_dead_sent;
        continue;
      }
      batch.deadline_ns = std::max(batch.deadline_ns, row.ticket->deadline_ns);
      row.ticket->batch_ns = std::max(row.ticket->batch_ns, now - row.cell().ready_ns);
    }
    taken.push_back(std::move(batch));
  }
  to_take_.clear();
  signal_locked();
  return taken;
}

Result<Scheduler::Core::Batches::iterator> Scheduler::Core::find_sent_locked(std::uint64_t batch_id) {
  const auto found = batches_.find(batch_id);
  if (found == batches_.end() || found->second->state == BatchState::kClosed) {
    return Status(Code::kInvalidArgument, "batch " + std::to_string(batch_id) + " is not in flight");
  }
  return found;
}

void Scheduler::Core::forget_open_locked(const BatchRecord& record) {
  std::erase(record.ensemble->open, &record);
}

// REQUIRES: the record is no longer among its ensemble's open batches.
void Scheduler::Core::free_batch_locked(Batches::iterator batch) {
  const BatchRecord& record = *batch->second;
  (void)record.ensemble->pool->move(record.buffer, BufferState::kFree);
  --record.ensemble->generation->open_batches;
  batches_.erase(batch);
  work_cv_.notify_all();
  wake_dispatcher_locked();
}

Status Scheduler::Core::complete(std::uint64_t batch_id, std::span<const OutputValues> outputs,
                                 std::span<const HeadFailure> failures) {
  const Nanos now = monotonic_now();
  std::unique_ptr<BatchRecord> record;
  {
    const std::lock_guard lock(mu_);
    const auto found = find_sent_locked(batch_id);
    if (!found.ok()) return found.status();
    if (found.value()->second->state == BatchState::kQuarantined) {
      free_batch_locked(found.value());
      return {};
    }
    // Out of the table: this batch is answered by this call alone, while its buffer stays in flight until the
    // end.
    record = std::move(batches_.extract(found.value()).mapped());
    Ensemble& ensemble = *record->ensemble;
    forget_open_locked(*record);
    observe_service_locked(*record, now);
    ensemble.last_answer_ns = std::max(ensemble.last_answer_ns, now);
    wake_dispatcher_locked();
  }

  const auto& config = record->ensemble->config;
  const Answer answer = check(*config, record->rows.size(), outputs, failures);
  std::vector<RowScores> scores;
  scores.reserve(record->rows.size());
  for (std::size_t row = 0; row < record->rows.size(); ++row)
    scores.push_back(row_scores(config, answer, row));

  const std::lock_guard lock(mu_);
  for (std::size_t i = 0; i < record->rows.size(); ++i) {
    const BatchRow& row = record->rows[i];
    if (row.ticket->done) {
      ++counters_.rows_dead_in_flight;
      continue;
    }
    row.ticket->infer_ns = std::max(row.ticket->infer_ns, now - record->started_ns);
    score_locked(row, std::move(scores[i]));
  }
  (void)record->ensemble->pool->move(record->buffer, BufferState::kFree);
  --record->ensemble->generation->open_batches;
  work_cv_.notify_all();
  wake_dispatcher_locked();
  return {};
}

void Scheduler::Core::lose_rows_locked(BatchRecord& record, Code code, const std::string& message) {
  const std::string reason = missing_reason(code);
  for (const BatchRow& row : record.rows) {
    if (row.ticket->done) {
      ++counters_.rows_dead_in_flight;
      continue;
    }
    row.ticket->batch_code = code;
    row.ticket->batch_message = message;
    miss_locked(row, *record.ensemble, reason);
  }
  record.rows.clear();
}

Status Scheduler::Core::fail_batch(std::uint64_t batch_id, Code code, const std::string& message) {
  if (code == Code::kOk) return Status(Code::kInvalidArgument, "a batch cannot fail with OK");
  const std::lock_guard lock(mu_);
  const auto found = find_sent_locked(batch_id);
  if (!found.ok()) return found.status();
  BatchRecord& record = *found.value()->second;
  if (code == Code::kUnavailable) ++counters_.batches_lost;
  if (record.state == BatchState::kInFlight) {
    forget_open_locked(record);
    lose_rows_locked(record, code, message);
    record.ensemble->last_answer_ns = std::max(record.ensemble->last_answer_ns, monotonic_now());
  }
  free_batch_locked(found.value());
  return {};
}

Status Scheduler::Core::quarantine(std::uint64_t batch_id) {
  const std::lock_guard lock(mu_);
  const auto found = find_sent_locked(batch_id);
  if (!found.ok()) return found.status();
  BatchRecord& record = *found.value()->second;
  if (record.state == BatchState::kQuarantined) {
    return Status(Code::kInvalidArgument, "batch " + std::to_string(batch_id) + " is in quarantine already");
  }
  forget_open_locked(record);
  record.state = BatchState::kQuarantined;
  (void)record.ensemble->pool->move(record.buffer, BufferState::kQuarantined);
  // From here on the server counts as standing still, so that these rows teach admission nothing.
  lose_rows_locked(record, Code::kDeadlineExceeded, "the inference server did not answer in time");
  ++counters_.batches_quarantined;
  wake_dispatcher_locked();
  return {};
}

}  // namespace floodgate
