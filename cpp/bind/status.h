// The only translation from a core Status to a Python exception.
#pragma once

#include <pybind11/pybind11.h>

#include <utility>

#include "floodgate/status.h"

namespace floodgate {

// Raises the floodgate.errors class that stands for `status`. REQUIRES: !status.ok(), the GIL is held.
[[noreturn]] void raise_status(const Status& status);

inline void raise_if_error(const Status& status) {
  if (!status.ok()) raise_status(status);
}

template <typename T>
T value_or_raise(Result<T> result) {
  if (!result.ok()) raise_status(result.status());
  return std::move(result).value();
}

// _core.raise_code(name, message): lets a test walk every code through the translation.
void bind_status(pybind11::module_& m);

}  // namespace floodgate
