// Python's arguments as the core's values. Each raises InvalidRequest when it cannot be. Thread rule: the GIL
// is held.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "floodgate/job.h"
#include "floodgate/lane.h"

namespace floodgate {

inline constexpr std::size_t kLargeBytes = 64 * 1024;  // above this a copy is worth two turns at the GIL

Modality parse_modality(const std::string& word);
Lane parse_lane(int value);
// What `info` holds, which must be contiguous bytes.
std::span<const std::uint8_t> bytes_of(const pybind11::buffer_info& info);

}  // namespace floodgate
