// The launch of the fused view kernel. Only what is compiled by nvcc defines it.
//
// Memory: the table and everything it points to lie in device memory until the stream has passed the launch.
// Thread rule: any thread whose current device is the table's.
#pragma once

#include <cstdint>

#include "view_table.h"

namespace floodgate::cuda {

// Renders every tile of a table that ViewTable::write() made and that was copied to `table`. Returns the
// runtime's error number; 0: launched. REQUIRES: layout.tile_count > 0.
int launch_views(const std::uint8_t* table, const TableLayout& layout, void* stream);

}  // namespace floodgate::cuda
