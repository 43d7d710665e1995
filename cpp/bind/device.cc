// The device for Python: opened and handed to a scheduler, and looked for on behalf of people.
#include "floodgate/device.h"

#include <pybind11/pybind11.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "status.h"

namespace py = pybind11;

namespace floodgate {
namespace {

DeviceOptions make_options(int ordinal, std::string jpeg_library, std::uint64_t memory_bytes,
                           std::uint32_t streams, std::uint32_t max_batch) {
  DeviceOptions options;
  options.ordinal = ordinal;
  options.jpeg_library = std::move(jpeg_library);
  options.memory_bytes = memory_bytes;
  options.streams = streams;
  options.max_batch = max_batch;
  return options;
}

py::dict facts_of(int ordinal, std::string jpeg_library) {
  using namespace py::literals;
  DeviceOptions options;
  options.ordinal = ordinal;
  options.jpeg_library = std::move(jpeg_library);
  DeviceFacts facts;
  {
    // Safe: no Python object is touched; waking a driver takes a second.
    const py::gil_scoped_release release;
    facts = look_for_device(options);
  }
  return py::dict("built"_a = facts.built, "toolkit"_a = facts.toolkit, "driver"_a = facts.driver,
                  "problem"_a = facts.problem, "name"_a = facts.name,
                  "compute_capability"_a = py::make_tuple(facts.compute_major, facts.compute_minor),
                  "memory_bytes"_a = facts.memory_bytes, "jpeg"_a = facts.jpeg,
                  "jpeg_problem"_a = facts.jpeg_problem);
}

}  // namespace

void bind_device(py::module_& m) {
  using namespace py::literals;
  const DeviceOptions defaults;
  // Safe to let go of the GIL while destroying: it joins threads that never touch Python.
  py::class_<Device, std::shared_ptr<Device>>(m, "Device", "A GPU that decodes and renders pictures.",
                                              py::release_gil_before_calling_cpp_dtor())
      .def(py::init([](int ordinal, std::string jpeg_library, std::uint64_t memory_bytes,
                       std::uint32_t streams, std::uint32_t max_batch) {
             const DeviceOptions options =
                 make_options(ordinal, std::move(jpeg_library), memory_bytes, streams, max_batch);
             const auto open = [&options] {
               // Safe: no Python object is touched; waking a driver takes a second.
               const py::gil_scoped_release release;
               return open_device(options);
             };
             return value_or_raise(open());
           }),
           py::kw_only(), "ordinal"_a = defaults.ordinal, "jpeg_library"_a = defaults.jpeg_library,
           "memory_bytes"_a = defaults.memory_bytes, "streams"_a = defaults.streams,
           "max_batch"_a = defaults.max_batch)
      .def_property_readonly("name", [](const Device& device) { return device.facts().name; })
      .def_property_readonly("jpeg_version", [](const Device& device) { return device.facts().jpeg; });
  m.def("look_for_device", &facts_of, py::kw_only(), "ordinal"_a = 0, "jpeg_library"_a = "");
}

}  // namespace floodgate
