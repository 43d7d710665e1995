// What a video's outermost structure says about its bytes, before any library reads them.
//
// Walks boxes, elements, tags or packets by their sizes, without looking inside; one step a frame at most,
// and never more than one for each two bytes. "Clearly less": a tenth of what is declared, and at least five
// seconds or five frames. Thread rule: stateless.
#pragma once

#include <cstdint>
#include <span>

#include "floodgate/media.h"

namespace floodgate {

struct VideoExtent {
  bool cut_short = false;   // a part says that it is longer than the data
  bool fragmented = false;  // MP4 in fragments: the index is spread over the file
  bool missing = false;   // Matroska, AVI: its structure is broken, or it holds clearly less than it declares
  bool torn = false;      // MPEG-TS: packets are missing within what belongs together
  bool has_index = true;  // MP4: a movie box was found
  bool far_offsets = false;  // MP4: frames are shown farther from when they are decoded than reordering takes
  std::uint64_t bytes = 0;   // worth reading: without a part at the end that is no use unless it is whole
};

VideoExtent video_extent(std::span<const std::uint8_t> data, Format format);

}  // namespace floodgate
