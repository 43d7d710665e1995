// Where a video can be entered, when it begins and ends: from the container's own index, or from its packets.
//
// The index of MP4 and of AVI is taken where there is one and the data reaches as far as it says; its ends
// are then read to know the first and the last time truly. Otherwise, and in Matroska, whose index need not
// name all there is, every packet is read once, and none decoded. Times of showing that cannot be those of
// the frames are put right: see VideoContainer::use_decode_order_times. Thread rule: stateless.
#pragma once

#include <cstdint>
#include <vector>

#include "floodgate/media.h"
#include "floodgate/status.h"
#include "video_container.h"

namespace floodgate {

struct VideoIndex {
  std::vector<KeyPoint> keys;  // times ascend; never empty
  std::int64_t first_us = 0;   // the first frame shown; frames before it cannot be decoded
  std::int64_t last_us = 0;    // the last packet's time
  std::int64_t end_us = 0;     // and the end of its duration
  std::uint32_t notes = 0;     // SequenceNote bits
};

// Leaves the container anywhere. Errors: kInvalidContent (no frames), kTooLarge (duration, number of
// packets).
Result<VideoIndex> read_index(VideoContainer& container, const MediaLimits& limits);

}  // namespace floodgate
