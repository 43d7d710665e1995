// The coded size in an HEVC decoder configuration (ISO/IEC 14496-15, 8.3.2), because the decoder allocates
// for what its sequence parameter set (ITU-T H.265, 7.3.2.2) says, whatever the boxes around it do.
//
// Reads count against the HeaderReader's budget. Thread rule: stateless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "header_reader.h"

namespace floodgate {

struct CodedSize {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
};

// The largest size among the parameter sets in [begin, end), the contents of an hvcC box; nothing when there
// are none that can be read.
std::optional<CodedSize> hevc_coded_size(HeaderReader& reader, std::size_t begin, std::size_t end);

}  // namespace floodgate
