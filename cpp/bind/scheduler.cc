// The scheduler for Python: shims only. Nothing here blocks; calls that copy many bytes let go of the GIL.
#include "floodgate/scheduler.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "floodgate/buffer_pool.h"
#include "status.h"

namespace py = pybind11;

namespace floodgate {
namespace {

constexpr std::size_t kLargeBytes = 64 * 1024;  // above this a copy is worth two turns at the GIL

constexpr std::array kBufferWords = {"free", "filling", "sealing", "sealed", "in_flight", "quarantined"};
static_assert(kBufferWords.size() == kBufferStates);
constexpr std::array kLaneWords = {"STANDARD", "LIVE", "BULK"};  // by lane_index()

Modality parse_modality(const std::string& word) {
  if (word == "image") return Modality::kImage;
  if (word == "text") return Modality::kText;
  raise_status({Code::kInvalidArgument, "modality is \"" + word + "\"; it must be one of image, text"});
}

Lane parse_lane(int value) {
  if (value < 1 || value > static_cast<int>(kLanes)) {
    raise_status({Code::kInvalidArgument,
                  "lane is " + std::to_string(value) + "; it must be 1 (STANDARD), 2 (LIVE) or 3 (BULK)"});
  }
  return static_cast<Lane>(value);
}

Code parse_code(const std::string& name) {
  for (int code = 1; code <= static_cast<int>(kLastCode); ++code) {
    if (code_name(static_cast<Code>(code)) == name) return static_cast<Code>(code);
  }
  raise_status({Code::kInvalidArgument, "unknown code " + name});
}

py::tuple shape_of(const TensorRef& tensor) {
  py::tuple shape(tensor.shape.size());
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) shape[i] = tensor.shape[i];
  return shape;
}

py::dict outputs_of(const RowScores& scores) {
  py::dict outputs;
  for (std::size_t i = 0; i < scores.config->outputs.size(); ++i) {
    const auto values = scores.output(i);
    if (!values) continue;
    outputs[py::str(scores.config->outputs[i].name)] =
        py::bytes(reinterpret_cast<const char*>(values->data()), values->size_bytes());
  }
  return outputs;
}

py::dict missing_of(const RowScores& scores) {
  py::dict missing;
  for (const MissingHead& head : scores.missing) missing[py::str(head.head)] = head.reason;
  return missing;
}

EnsembleConfig make_ensemble(std::string name, const std::string& modality,
                             std::vector<std::pair<std::string, View>> tensors,
                             std::vector<std::tuple<std::string, std::string, std::uint32_t>> outputs,
                             std::vector<std::string> heads, std::uint32_t max_batch, std::uint32_t buffers,
                             std::uint32_t credit) {
  EnsembleConfig config;
  config.name = std::move(name);
  config.modality = parse_modality(modality);
  for (auto& [tensor, view] : tensors) config.tensors.push_back({std::move(tensor), std::move(view)});
  for (auto& [output, head, elements] : outputs) {
    config.outputs.push_back({std::move(output), std::move(head), elements});
  }
  config.heads = std::move(heads);
  config.max_batch = max_batch;
  config.buffers = buffers;
  config.credit = credit;
  raise_if_error(validate(config));
  return config;
}

std::unique_ptr<Scheduler> make_scheduler(const std::map<int, std::uint32_t>& lane_weights,
                                          std::uint32_t decode_workers, std::uint64_t arena_bytes,
                                          std::uint32_t max_queue_rows, double live_reserve,
                                          std::uint32_t quarantine_cap, const MediaLimits& media_limits,
                                          std::uint64_t max_text_bytes, double initial_fixed_us,
                                          double initial_per_row_us) {
  SchedulerOptions options;
  for (const auto& [lane, weight] : lane_weights) options.lane_weights[lane_index(parse_lane(lane))] = weight;
  options.decode_workers = decode_workers;
  options.arena_bytes = arena_bytes;
  options.max_queue_rows = max_queue_rows;
  options.live_reserve = live_reserve;
  options.quarantine_cap = quarantine_cap;
  options.media_limits = media_limits;
  options.max_text_bytes = max_text_bytes;
  options.initial_model = {initial_fixed_us * static_cast<double>(kMicrosecond),
                           initial_per_row_us * static_cast<double>(kMicrosecond)};
  return value_or_raise(Scheduler::create(std::move(options)));
}

void submit(Scheduler& scheduler, std::uint64_t ticket, std::vector<std::string> ensembles,
            const py::buffer& data, const std::string& modality, int lane, std::optional<Nanos> deadline_ns,
            std::uint32_t max_frames, std::uint32_t interval_ms) {
  const py::buffer_info info = data.request();
  if (info.itemsize != 1 || !PyBuffer_IsContiguous(info.view(), 'C')) {
    raise_status({Code::kInvalidArgument, "data must be contiguous bytes"});
  }
  Submission submission;
  submission.ticket = ticket;
  submission.ensembles = std::move(ensembles);
  submission.modality = parse_modality(modality);
  submission.data = {static_cast<const std::uint8_t*>(info.ptr), static_cast<std::size_t>(info.size)};
  submission.plan = {max_frames, interval_ms};
  submission.lane = parse_lane(lane);
  submission.deadline_ns = deadline_ns.value_or(kNever);
  Status status;
  if (submission.data.size() > kLargeBytes) {
    // Safe: `info` holds the exporter's buffer, so the bytes stay; nothing below touches a Python object.
    const py::gil_scoped_release release;
    status = scheduler.submit(submission);
  } else {
    status = scheduler.submit(submission);
  }
  raise_if_error(status);
}

using FloatArray = py::array_t<float, py::array::c_style>;

void complete(Scheduler& scheduler, std::uint64_t batch_id, const std::map<std::string, py::array>& outputs,
              const std::map<std::string, std::pair<std::string, std::string>>& failures) {
  std::vector<OutputValues> values;
  std::size_t bytes = 0;
  for (const auto& [name, array] : outputs) {
    // Another dtype or order is not converted: it would be a defect of the caller hidden by a copy.
    if (!py::isinstance<FloatArray>(array)) {
      raise_status({Code::kInvalidArgument, "output " + name + " must be a C-contiguous float32 array"});
    }
    values.push_back(
        {name, {static_cast<const float*>(array.data()), static_cast<std::size_t>(array.size())}});
    bytes += static_cast<std::size_t>(array.nbytes());
  }
  std::vector<HeadFailure> missing;
  for (const auto& [head, failure] : failures) missing.push_back({head, failure.first, failure.second});
  Status status;
  if (bytes > kLargeBytes) {
    // Safe: `outputs` holds the arrays; nothing below touches a Python object.
    const py::gil_scoped_release release;
    status = scheduler.complete(batch_id, values, missing);
  } else {
    status = scheduler.complete(batch_id, values, missing);
  }
  raise_if_error(status);
}

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
      "texts_laid_out"_a = counters.texts_laid_out, "decode_failures"_a = counters.decode_failures,
      "decode_ns"_a = counters.decode_ns, "batches"_a = counters.batches,
      "rows_batched"_a = counters.rows_batched, "rows_dead_in_flight"_a = counters.rows_dead_in_flight,
      "rows_moved"_a = counters.rows_moved, "batches_dead_unsent"_a = counters.batches_dead_unsent,
      "batches_quarantined"_a = counters.batches_quarantined, "batches_lost"_a = counters.batches_lost,
      "cancelled_before_decode"_a = counters.cancelled_before_decode,
      "cancelled_before_batch"_a = counters.cancelled_before_batch,
      "cancelled_in_flight"_a = counters.cancelled_in_flight,
      "expired_before_decode"_a = counters.expired_before_decode,
      "expired_before_batch"_a = counters.expired_before_batch,
      "expired_in_flight"_a = counters.expired_in_flight, "refused"_a = refused);
}

py::dict stats_of(const Stats& stats) {
  using namespace py::literals;
  py::dict queued;
  for (std::size_t lane = 0; lane < kLanes; ++lane) queued[kLaneWords[lane]] = stats.queued_rows[lane];
  py::list ensembles;
  for (const EnsembleStats& each : stats.ensembles) {
    py::dict buffers;
    for (std::size_t state = 0; state < kBufferStates; ++state)
      buffers[kBufferWords[state]] = each.buffers[state];
    ensembles.append(py::dict("generation"_a = each.generation, "ensemble"_a = each.ensemble,
                              "retired"_a = each.retired, "buffers"_a = buffers,
                              "ready_rows"_a = each.ready_rows, "decoding_rows"_a = each.decoding_rows,
                              "fixed_us"_a = each.model.fixed_ns / static_cast<double>(kMicrosecond),
                              "per_row_us"_a = each.model.per_row_ns / static_cast<double>(kMicrosecond)));
  }
  return py::dict("counters"_a = counters_of(stats.counters), "queued_rows"_a = queued,
                  "open_tickets"_a = stats.open_tickets, "arena_used_bytes"_a = stats.arena_used_bytes,
                  "arena_free_bytes"_a = stats.arena_free_bytes, "draining"_a = stats.draining,
                  "drained"_a = stats.drained, "ensembles"_a = ensembles);
}

void bind_batches(py::module_& m) {
  py::class_<TensorRef>(m, "TensorRef", "Where one input tensor of a batch lies.")
      .def_readonly("name", &TensorRef::name)
      .def_property_readonly("dtype", [](const TensorRef& tensor) { return dtype_name(tensor.dtype); })
      .def_property_readonly("shape", &shape_of)
      .def_readonly("region", &TensorRef::region)
      .def_readonly("region_bytes", &TensorRef::region_bytes)
      .def_property_readonly(
          "kind",
          [](const TensorRef& tensor) { return tensor.kind == MemoryKind::kCudaShm ? "cuda" : "system"; })
      .def_readonly("device", &TensorRef::device)
      .def_readonly("offset", &TensorRef::offset)
      .def_readonly("bytes", &TensorRef::bytes);
  py::class_<Batch>(m, "Batch", "A closed batch of one ensemble.")
      .def_readonly("batch_id", &Batch::batch_id)
      .def_readonly("generation", &Batch::generation)
      .def_readonly("ensemble", &Batch::ensemble)
      .def_readonly("rows", &Batch::rows)
      .def_readonly("deadline_ns", &Batch::deadline_ns)
      .def_property_readonly("tensors",
                             [](const Batch& batch) { return py::tuple(py::cast(batch.tensors)); });
}

void bind_done(py::module_& m) {
  py::class_<RowScores>(m, "RowScores", "What one ensemble said about one row.")
      .def_property_readonly("ensemble", [](const RowScores& scores) { return scores.config->name; })
      .def_property_readonly("outputs", &outputs_of)
      .def_property_readonly("missing", &missing_of);
  py::class_<DoneRow>(m, "DoneRow", "One row of an answered ticket.")
      .def_readonly("time_ms", &DoneRow::time_ms)
      .def_property_readonly("span",
                             [](const DoneRow& row) { return py::make_tuple(row.span.start, row.span.end); })
      .def_property_readonly("scores", [](const DoneRow& row) { return py::tuple(py::cast(row.scores)); });
  py::class_<Done>(m, "Done", "The one answer to a ticket.")
      .def_readonly("ticket", &Done::ticket)
      .def_property_readonly("code", [](const Done& done) { return std::string(code_name(done.code)); })
      .def_readonly("message", &Done::message)
      .def_readonly("info", &Done::info)
      .def_property_readonly("rows", [](const Done& done) { return py::tuple(py::cast(done.rows)); })
      .def_property_readonly("queue_us", [](const Done& done) { return done.timings.queue_us; })
      .def_property_readonly("decode_us", [](const Done& done) { return done.timings.decode_us; })
      .def_property_readonly("batch_us", [](const Done& done) { return done.timings.batch_us; })
      .def_property_readonly("infer_us", [](const Done& done) { return done.timings.infer_us; })
      .def_readonly("frames_sampled", &Done::frames_sampled)
      .def_readonly("frames_dropped", &Done::frames_dropped)
      .def_readonly("copied_bytes", &Done::copied_bytes);
}

}  // namespace

void bind_scheduler(py::module_& m) {
  using namespace py::literals;
  const SchedulerOptions defaults;
  bind_batches(m);
  bind_done(m);
  py::class_<EnsembleConfig>(m, "EnsembleConfig",
                             "An ensemble to serve; raises InvalidRequest when it cannot be.")
      .def(py::init(&make_ensemble), "name"_a, "modality"_a, "tensors"_a, "outputs"_a, "heads"_a,
           "max_batch"_a, "buffers"_a = 4, "credit"_a = 2)
      .def_readonly("name", &EnsembleConfig::name)
      .def_readonly("max_batch", &EnsembleConfig::max_batch)
      .def_readonly("buffers", &EnsembleConfig::buffers)
      .def_readonly("credit", &EnsembleConfig::credit);

  std::map<int, std::uint32_t> weights;
  for (std::size_t lane = 0; lane < kLanes; ++lane)
    weights[static_cast<int>(lane) + 1] = defaults.lane_weights[lane];
  // Safe to let go of the GIL while destroying: it joins threads that never touch Python.
  py::class_<Scheduler>(m, "Scheduler", "Encoded bytes in, batches out, scores in, answers out.",
                        py::release_gil_before_calling_cpp_dtor())
      .def(py::init(&make_scheduler), py::kw_only(), "lane_weights"_a = weights,
           "decode_workers"_a = defaults.decode_workers, "arena_bytes"_a = defaults.arena_bytes,
           "max_queue_rows"_a = defaults.max_queue_rows, "live_reserve"_a = defaults.live_reserve,
           "quarantine_cap"_a = defaults.quarantine_cap, "media_limits"_a = defaults.media_limits,
           "max_text_bytes"_a = defaults.max_text_bytes, "initial_fixed_us"_a = 2000.0,
           "initial_per_row_us"_a = 3000.0)
      .def(
          "configure",
          [](Scheduler& scheduler, std::uint64_t generation, std::vector<EnsembleConfig> ensembles) {
            Status status;
            {
              // Safe: `ensembles` is C++'s own; reserving shared memory takes milliseconds.
              const py::gil_scoped_release release;
              status = scheduler.configure(generation, std::move(ensembles));
            }
            raise_if_error(status);
          },
          "generation"_a, "ensembles"_a)
      .def("submit", &submit, "ticket"_a, "ensembles"_a, "data"_a, py::kw_only(), "modality"_a, "lane"_a = 1,
           "deadline_ns"_a = py::none(), "max_frames"_a = 1, "interval_ms"_a = 0)
      .def("cancel", &Scheduler::cancel, "ticket"_a)
      .def("take_batches", &Scheduler::take_batches)
      .def("complete", &complete, "batch_id"_a, "outputs"_a,
           "failures"_a = std::map<std::string, std::pair<std::string, std::string>>{})
      .def(
          "fail_batch",
          [](Scheduler& scheduler, std::uint64_t batch_id, const std::string& code,
             const std::string& message) {
            raise_if_error(scheduler.fail_batch(batch_id, parse_code(code), message));
          },
          "batch_id"_a, "code"_a, "message"_a)
      .def(
          "quarantine",
          [](Scheduler& scheduler, std::uint64_t batch_id) {
            raise_if_error(scheduler.quarantine(batch_id));
          },
          "batch_id"_a)
      .def(
          "region_lost",
          [](Scheduler& scheduler, std::optional<std::uint64_t> generation) {
            Status status;
            {
              // Safe: no Python object is touched; reserving shared memory takes milliseconds.
              const py::gil_scoped_release release;
              status = scheduler.region_lost(generation);
            }
            raise_if_error(status);
          },
          "generation"_a = py::none())
      .def("poll_done", &Scheduler::poll_done)
      .def("drain", &Scheduler::drain)
      .def("stats", [](const Scheduler& scheduler) { return stats_of(scheduler.stats()); })
      .def_property_readonly("fd", &Scheduler::fd);

  m.def("sweep_stale_buffers", &sweep_stale_buffers, "Unlink the regions of dead servers; returns how many.");
}

}  // namespace floodgate
