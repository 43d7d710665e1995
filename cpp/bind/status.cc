#include "status.h"

#include <cstdint>
#include <string>

namespace py = pybind11;

namespace floodgate {

void raise_status(const Status& status) {
  const py::dict classes = py::module_::import("floodgate.errors").attr("CORE_ERRORS");
  const py::str name(std::string(code_name(status.code())));
  const py::object cls = classes[name];
  const py::object error = cls(status.message());
  constexpr std::int64_t kNanosPerMilli = 1'000'000;
  if (status.retry_after_ns() > 0) {
    error.attr("retry_after_ms") = (status.retry_after_ns() + kNanosPerMilli - 1) / kNanosPerMilli;
  }
  PyErr_SetObject(cls.ptr(), error.ptr());
  throw py::error_already_set();
}

void bind_status(py::module_& m) {
  py::list codes;
  for (int code = 1; code <= static_cast<int>(kLastCode); ++code) {
    codes.append(std::string(code_name(static_cast<Code>(code))));
  }
  m.attr("CODES") = py::tuple(codes);
  m.def(
      "raise_code",
      [](const std::string& name, const std::string& message) {
        for (int code = 1; code <= static_cast<int>(kLastCode); ++code) {
          if (code_name(static_cast<Code>(code)) == name) raise_status({static_cast<Code>(code), message});
        }
        throw py::value_error("unknown code " + name);
      },
      py::arg("name"), py::arg("message"));
}

}  // namespace floodgate
