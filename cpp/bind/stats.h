// The scheduler's counters and gauges for Python.
#pragma once

#include <pybind11/pybind11.h>

#include "floodgate/stats.h"

namespace floodgate {

// As `_core.pyi` describes them. REQUIRES: the GIL.
pybind11::dict stats_of(const Stats& stats);

}  // namespace floodgate
