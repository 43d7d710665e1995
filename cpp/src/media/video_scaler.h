// FFmpeg's scaler, set up to turn frames into RGB of the same size as PyAV (FFmpeg 8) shows them.
#pragma once

#include "libav.h"

namespace floodgate {

// `from` and `to` are pixel formats, `space` an SWS_CS_*, `chroma` where colours lie (AVChromaLocation);
// numbers, as files may hold others than FFmpeg has names for.
struct ScalerSettings {
  int width = 0, height = 0, from = -1, to = -1, space = -1, full_range = -1, chroma = -1;
  bool operator==(const ScalerSettings&) const = default;
};

// Null where it cannot be had. `space` and `full_range` are the caller's to set.
ScalerPtr make_scaler(const ScalerSettings& wanted);

}  // namespace floodgate
