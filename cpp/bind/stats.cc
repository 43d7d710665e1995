#include "stats.h"

#include <array>
#include <cstddef>
#include <optional>
#include <string>

#include "floodgate/buffer_pool.h"
#include "floodgate/device.h"
#include "floodgate/lane.h"

namespace py = pybind11;

namespace floodgate {
namespace {

constexpr std::array kBufferWords = {"free", "filling", "sealing", "sealed", "in_flight", "quarantined"};
static_assert(kBufferWords.size() == kBufferStates);
constexpr std::array kLaneWords = {"STANDARD", "LIVE", "BULK"};  // by lane_index()

py::dict counters_of(const Counters& counters) {
  py::dict refused;
  for (int code = 1; code <= static_cast<int>(kLastCode); ++code) {
    refused[py::str(std::string(code_name(static_cast<Code>(code))))] =
        counters.refused[static_cast<std::size_t>(code)];
  }
  using namespace py::literals;
  return py::dict(
      "tickets"_a = counters.tickets, "done"_a = counters.done, "bytes_received"_a = counters.bytes_received,
      "bytes_copied"_a = counters.bytes_copied, "pictures_decoded"_a = counters.pictures_decoded,
      "frames_similar"_a = counters.frames_similar, "texts_laid_out"_a = counters.texts_laid_out,
      "decode_failures"_a = counters.decode_failures, "decode_ns"_a = counters.decode_ns,
      "batches"_a = counters.batches, "rows_batched"_a = counters.rows_batched,
      "rows_dead_in_flight"_a = counters.rows_dead_in_flight, "rows_dead_sent"_a = counters.rows_dead_sent,
      "rows_moved"_a = counters.rows_moved, "batches_dead_unsent"_a = counters.batches_dead_unsent,
      "batches_quarantined"_a = counters.batches_quarantined, "batches_lost"_a = counters.batches_lost,
      "cancelled_before_decode"_a = counters.cancelled_before_decode,
      "cancelled_before_batch"_a = counters.cancelled_before_batch,
      "cancelled_in_flight"_a = counters.cancelled_in_flight, "dropped_early"_a = counters.dropped_early,
      "refused_late"_a = counters.refused_late, "expired_before_decode"_a = counters.expired_before_decode,
      "expired_before_batch"_a = counters.expired_before_batch,
      "expired_in_flight"_a = counters.expired_in_flight, "refused"_a = refused);
}

py::dict losses_of(const WorkerLosses& losses) {
  using namespace py::literals;
  return py::dict("crashed"_a = losses.crashed, "forbidden"_a = losses.forbidden, "hung"_a = losses.hung,
                  "over_cpu"_a = losses.over_cpu, "over_memory"_a = losses.over_memory);
}

// Without a device all is zero, so that whoever watches finds every count before it grows.
py::dict device_stats_of(const std::optional<DeviceStats>& device) {
  using namespace py::literals;
  const DeviceStats stats = device.value_or(DeviceStats{});
  py::dict fallbacks;
  for (std::size_t i = 0; i < kDeviceFallbacks; ++i) {
    fallbacks[fallback_name(static_cast<DeviceFallback>(i))] = stats.fallbacks[i];
  }
  return py::dict("used"_a = device && !stats.lost, "lost"_a = stats.lost, "problem"_a = stats.problem,
                  "pictures"_a = stats.pictures, "batches"_a = stats.batches, "busy_ns"_a = stats.busy_ns,
                  "rows_staged"_a = stats.rows_staged, "fallbacks"_a = fallbacks);
}

}  // namespace

py::dict stats_of(const Stats& stats) {
  using namespace py::literals;
  py::dict queued;
  py::dict guards;
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    queued[kLaneWords[lane]] = stats.queued_rows[lane];
    guards[kLaneWords[lane]] = stats.lane_guards[lane];
  }
  py::list ensembles;
  for (const EnsembleStats& each : stats.ensembles) {
    py::dict buffers;
    for (std::size_t state = 0; state < kBufferStates; ++state)
      buffers[kBufferWords[state]] = each.buffers[state];
    ensembles.append(py::dict("generation"_a = each.generation, "ensemble"_a = each.ensemble,
                              "retired"_a = each.retired, "buffers"_a = buffers,
                              "ready_rows"_a = each.ready_rows, "waiting_rows"_a = each.waiting_rows,
                              "decoding_rows"_a = each.decoding_rows,
                              "fixed_us"_a = each.model.fixed_ns / static_cast<double>(kMicrosecond),
                              "per_row_us"_a = each.model.per_row_ns / static_cast<double>(kMicrosecond),
                              "guard"_a = each.model.guard));
  }
  return py::dict("counters"_a = counters_of(stats.counters), "queued_rows"_a = queued,
                  "lane_guards"_a = guards, "open_tickets"_a = stats.open_tickets,
                  "waiting_decode_ns"_a = stats.waiting_decode_ns, "sandboxed"_a = stats.sandboxed,
                  "worker_losses"_a = losses_of(stats.worker_losses),
                  "device"_a = device_stats_of(stats.device), "arena_used_bytes"_a = stats.arena_used_bytes,
                  "arena_free_bytes"_a = stats.arena_free_bytes, "draining"_a = stats.draining,
                  "drained"_a = stats.drained, "ensembles"_a = ensembles);
}

}  // namespace floodgate
