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
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "arguments.h"
#include "floodgate/buffer_pool.h"
#include "stats.h"
#include "status.h"

namespace py = pybind11;

namespace floodgate {

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

std::span<const std::uint8_t> bytes_of(const py::buffer_info& info) {
  if (info.itemsize != 1 || !PyBuffer_IsContiguous(info.view(), 'C')) {
    raise_status({Code::kInvalidArgument, "data must be contiguous bytes"});
  }
  return {static_cast<const std::uint8_t*>(info.ptr), static_cast<std::size_t>(info.size)};
}

namespace {

constexpr double kMostWaitS = 86'400;

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

std::string sha256_of(Done& done) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  const auto& digest = digest_of(done);
  if (!digest) return text;
  for (const std::uint8_t byte : *digest) {
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 15U];
  }
  return text;
}

EnsembleConfig make_ensemble(std::string name, const std::string& modality,
                             std::vector<std::pair<std::string, View>> tensors,
                             std::vector<std::tuple<std::string, std::string, std::uint32_t>> outputs,
                             std::vector<std::string> heads, std::uint32_t max_batch, std::uint32_t buffers,
                             std::uint32_t credit, std::string device, bool shares_cores) {
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
  config.device = std::move(device);
  config.shares_cores = shares_cores;
  raise_if_error(validate(config));
  return config;
}

std::unique_ptr<Scheduler> make_scheduler(const std::map<int, double>& lane_floors, double max_wait_s,
                                          std::uint32_t decode_workers, std::uint64_t arena_bytes,
                                          std::uint32_t max_queue_rows, double live_reserve,
                                          std::uint32_t quarantine_cap, const MediaLimits& media_limits,
                                          std::uint64_t max_text_bytes, double initial_fixed_us,
                                          double initial_per_row_us, std::uint32_t decode_min,
                                          const std::string& decoder_program,
                                          std::uint64_t decoder_memory_bytes, std::uint32_t decoder_hang_ms,
                                          bool decoder_faults, std::shared_ptr<Device> device,
                                          std::size_t acceptors, std::uint64_t acceptor_arena_bytes) {
  SchedulerOptions options;
  for (const auto& [lane, floor] : lane_floors) options.lane_floors[lane_index(parse_lane(lane))] = floor;
  if (!(max_wait_s > 0 && max_wait_s <= kMostWaitS)) {
    raise_status({Code::kInvalidArgument, "max_wait_s must be above 0 and at most a day"});
  }
  options.max_wait_ns = static_cast<Nanos>(max_wait_s * static_cast<double>(kSecond));
  options.decode_workers = decode_workers;
  options.arena_bytes = arena_bytes;
  options.max_queue_rows = max_queue_rows;
  options.live_reserve = live_reserve;
  options.quarantine_cap = quarantine_cap;
  options.media_limits = media_limits;
  options.max_text_bytes = max_text_bytes;
  options.initial_model = {initial_fixed_us * static_cast<double>(kMicrosecond),
                           initial_per_row_us * static_cast<double>(kMicrosecond)};
  options.decode_options = {decode_min};
  for (std::size_t i = 0; i < acceptors; ++i) {
    options.foreign_arenas.push_back(value_or_raise(SharedRegion::anonymous(acceptor_arena_bytes)));
  }
  if (!decoder_program.empty()) {
    SandboxOptions sandbox;
    sandbox.program = decoder_program;
    sandbox.memory_bytes = decoder_memory_bytes;
    sandbox.hang_ms = decoder_hang_ms;
    sandbox.faults = decoder_faults;
    options.sandbox = sandbox;
  }
  options.device = std::move(device);
  return value_or_raise(Scheduler::create(std::move(options)));
}

void submit(Scheduler& scheduler, std::uint64_t ticket, std::vector<std::string> ensembles,
            const py::buffer& data, const std::string& modality, int lane, std::optional<Nanos> deadline_ns,
            std::uint32_t max_frames, std::uint32_t min_interval_ms, std::uint64_t seed) {
  const py::buffer_info info = data.request();
  Submission submission;
  submission.ticket = ticket;
  submission.ensembles = std::move(ensembles);
  submission.modality = parse_modality(modality);
  submission.data = bytes_of(info);
  submission.plan = {max_frames, min_interval_ms, seed};
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
      .def_property_readonly("handle", [](const TensorRef& tensor) { return py::bytes(tensor.handle); })
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
      .def_property_readonly("ended_ns", [](const Done& done) { return done.timings.ended_ns; })
      .def_property_readonly("infer_us", [](const Done& done) { return done.timings.infer_us; })
      .def_readonly("frames_sampled", &Done::frames_sampled)
      .def_readonly("frames_dropped", &Done::frames_dropped)
      .def_readonly("frames_missed", &Done::frames_missed)
      .def_property_readonly("duration_ms", [](const Done& done) { return done.sequence.duration_ms; })
      .def_property_readonly("shown_width", [](const Done& done) { return done.sequence.width; })
      .def_property_readonly("shown_height", [](const Done& done) { return done.sequence.height; })
      .def_property_readonly("codec", [](const Done& done) { return std::string(done.sequence.codec); })
      .def_property_readonly("notes", [](const Done& done) { return describe_notes(done.sequence.notes); })
      .def_property_readonly("partial", [](const Done& done) { return is_partial(done.sequence.notes); })
      .def_readonly("copied_bytes", &Done::copied_bytes)
      .def_property_readonly("sha256", &sha256_of)
      .def_property_readonly("retry_after_ms", [](const Done& done) {
        return (done.retry_after_ns + kMillisecond - 1) / kMillisecond;
      });
}

}  // namespace

void bind_scheduler(py::module_& m) {
  using namespace py::literals;
  const SchedulerOptions defaults;
  const SandboxOptions sandbox_defaults;
  bind_batches(m);
  bind_done(m);
  py::class_<EnsembleConfig>(m, "EnsembleConfig",
                             "An ensemble to serve; raises InvalidRequest when it cannot be.")
      .def(py::init(&make_ensemble), "name"_a, "modality"_a, "tensors"_a, "outputs"_a, "heads"_a,
           "max_batch"_a, "buffers"_a = 4, "credit"_a = 2, "device"_a = "", "shares_cores"_a = false)
      .def_readonly("name", &EnsembleConfig::name)
      .def_readonly("max_batch", &EnsembleConfig::max_batch)
      .def_readonly("buffers", &EnsembleConfig::buffers)
      .def_readonly("credit", &EnsembleConfig::credit)
      .def_readonly("device", &EnsembleConfig::device)
      .def_readonly("shares_cores", &EnsembleConfig::shares_cores);

  std::map<int, double> floors;
  for (std::size_t lane = 0; lane < kLanes; ++lane)
    floors[static_cast<int>(lane) + 1] = defaults.lane_floors[lane];
  // Safe to let go of the GIL while destroying: it joins threads that never touch Python.
  py::class_<Scheduler>(m, "Scheduler", "Encoded bytes in, batches out, scores in, answers out.",
                        py::release_gil_before_calling_cpp_dtor())
      .def(py::init(&make_scheduler), py::kw_only(), "lane_floors"_a = floors,
           "max_wait_s"_a = static_cast<double>(defaults.max_wait_ns) / static_cast<double>(kSecond),
           "decode_workers"_a = defaults.decode_workers, "arena_bytes"_a = defaults.arena_bytes,
           "max_queue_rows"_a = defaults.max_queue_rows, "live_reserve"_a = defaults.live_reserve,
           "quarantine_cap"_a = defaults.quarantine_cap, "media_limits"_a = defaults.media_limits,
           "max_text_bytes"_a = defaults.max_text_bytes, "initial_fixed_us"_a = 2000.0,
           "initial_per_row_us"_a = 3000.0, "decode_min"_a = 0, "decoder_program"_a = "",
           "decoder_memory_bytes"_a = sandbox_defaults.memory_bytes,
           "decoder_hang_ms"_a = sandbox_defaults.hang_ms, "decoder_faults"_a = false,
           "device"_a = std::shared_ptr<Device>(), "acceptors"_a = 0, "acceptor_arena_bytes"_a = 0)
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
           "deadline_ns"_a = py::none(), "max_frames"_a = 1, "min_interval_ms"_a = 0, "seed"_a = 0)
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
      .def_property_readonly("fd", &Scheduler::fd)
      .def_property_readonly("foreign_arenas", [](const Scheduler& scheduler) {
        py::list arenas;
        for (const auto& region : scheduler.foreign_arenas()) {
          arenas.append(py::make_tuple(region->fd(), region->bytes().size()));
        }
        return py::tuple(arenas);
      });

  m.attr("MOST_DIGESTED_BYTES") = kMostDigestedBytes;
  m.def("sweep_stale_buffers", &sweep_stale_buffers, "Unlink the regions of dead servers; returns how many.");
}

}  // namespace floodgate
