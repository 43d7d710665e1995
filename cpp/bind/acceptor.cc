// Acceptors for Python, both ends: shims only. Nothing here blocks; a call that copies many bytes lets go of
// the GIL.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arguments.h"
#include "floodgate/acceptor_hub.h"
#include "floodgate/acceptor_link.h"
#include "status.h"

namespace py = pybind11;

namespace floodgate {
namespace {

std::unique_ptr<AcceptorLink> make_link(int socket, int arena_fd, std::uint64_t arena_bytes,
                                        std::vector<EnsembleConfig> ensembles,
                                        const MediaLimits& media_limits, std::uint64_t max_text_bytes,
                                        double live_reserve) {
  LinkOptions options;
  options.ensembles = std::move(ensembles);
  options.socket = socket;
  options.arena_fd = arena_fd;
  options.arena_bytes = arena_bytes;
  options.live_reserve = live_reserve;
  options.media_limits = media_limits;
  options.max_text_bytes = max_text_bytes;
  return value_or_raise(AcceptorLink::create(std::move(options)));
}

void submit(AcceptorLink& link, std::uint64_t ticket, std::uint32_t ensembles, const py::buffer& data,
            const std::string& modality, int lane, std::optional<Nanos> deadline_ns, std::uint32_t max_frames,
            std::uint32_t min_interval_ms, std::uint64_t seed) {
  const py::buffer_info info = data.request();
  AcceptorLink::Part part;
  part.ticket = ticket;
  part.ensembles = ensembles;
  part.modality = parse_modality(modality);
  part.data = bytes_of(info);
  part.plan = {max_frames, min_interval_ms, seed};
  part.lane = parse_lane(lane);
  part.deadline_ns = deadline_ns.value_or(kNever);
  Status status;
  if (part.data.size() > kLargeBytes) {
    // Safe: `info` holds the exporter's buffer, so the bytes stay; nothing below touches a Python object.
    const py::gil_scoped_release release;
    status = link.submit(part);
  } else {
    status = link.submit(part);
  }
  raise_if_error(status);
}

py::dict stats_of(const LinkStats& stats) {
  using namespace py::literals;
  py::dict refused;
  for (int code = 1; code <= static_cast<int>(kLastCode); ++code) {
    refused[py::str(std::string(code_name(static_cast<Code>(code))))] =
        stats.refused[static_cast<std::size_t>(code)];
  }
  return py::dict("bytes_received"_a = stats.bytes_received, "refused"_a = refused,
                  "arena_used_bytes"_a = stats.arena_used_bytes, "open_tickets"_a = stats.open_tickets);
}

py::list states_of(const AcceptorHub& hub) {
  using namespace py::literals;
  py::list states;
  for (const AcceptorState& state : hub.states()) {
    states.append(py::dict("connected"_a = state.connected, "reason"_a = state.reason,
                           "submitted"_a = state.submitted, "refused"_a = state.refused,
                           "open"_a = state.open, "held"_a = state.held,
                           "unsent_bytes"_a = state.unsent_bytes));
  }
  return states;
}

}  // namespace

void bind_acceptor(py::module_& m) {
  using namespace py::literals;
  py::class_<AcceptorLink>(m, "AcceptorLink", "A scheduler in another process, as an acceptor sees it.")
      .def(py::init(&make_link), py::kw_only(), "socket"_a, "arena_fd"_a, "arena_bytes"_a, "ensembles"_a,
           "media_limits"_a = MediaLimits(), "max_text_bytes"_a = LinkOptions().max_text_bytes,
           "live_reserve"_a = LinkOptions().live_reserve)
      .def("submit", &submit, "ticket"_a, "ensembles"_a, "data"_a, py::kw_only(), "modality"_a, "lane"_a = 1,
           "deadline_ns"_a = py::none(), "max_frames"_a = 1, "min_interval_ms"_a = 0, "seed"_a = 0)
      .def("cancel", &AcceptorLink::cancel, "ticket"_a)
      .def("poll", &AcceptorLink::poll)
      .def("stats", [](const AcceptorLink& link) { return stats_of(link.stats()); })
      .def_property_readonly("connected", &AcceptorLink::connected)
      .def_property_readonly("ready", &AcceptorLink::ready)
      .def_property_readonly("greeted", &AcceptorLink::greeted)
      .def_property_readonly("fd", &AcceptorLink::fd);

  // Safe to let go of the GIL while destroying: it joins a thread that never touches Python.
  py::class_<AcceptorHub>(m, "AcceptorHub", "The scheduler's end of its acceptors.",
                          py::release_gil_before_calling_cpp_dtor())
      .def(py::init([](Scheduler& scheduler, std::vector<std::string> ensembles,
                       const MediaLimits& media_limits, std::uint64_t max_text_bytes) {
             HubOptions options;
             options.ensembles = std::move(ensembles);
             options.media_limits = media_limits;
             options.max_text_bytes = max_text_bytes;
             return value_or_raise(AcceptorHub::create(scheduler, std::move(options)));
           }),
           // The hub's thread uses the scheduler.
           py::keep_alive<1, 2>(), "scheduler"_a, py::kw_only(), "ensembles"_a,
           "media_limits"_a = MediaLimits(), "max_text_bytes"_a = HubOptions().max_text_bytes)
      .def(
          "attach",
          [](AcceptorHub& hub, std::size_t acceptor, int socket) {
            raise_if_error(hub.attach(acceptor, socket));
          },
          "acceptor"_a, "socket"_a)
      .def("detach", &AcceptorHub::detach, "acceptor"_a)
      .def("set_ready", &AcceptorHub::set_ready, "ready"_a)
      .def("states", &states_of);
}

}  // namespace floodgate
