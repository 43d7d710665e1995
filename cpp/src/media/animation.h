// Animated pictures as short videos: what each format must offer.
//
// An AnimationReader knows when its frames are shown and composes them in order, as a player would. It
// borrows the data. Thread rule: one reader, one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "floodgate/decode.h"
#include "floodgate/sequence.h"

namespace floodgate {

struct Timeline {
  std::vector<std::int64_t> starts_us;  // of every frame that can be read, ascending from 0; never empty
  std::int64_t end_us = 0;              // when the last one ends
  std::uint32_t notes = 0;              // SequenceNote bits known from the structure alone

  // Adds a frame that is shown for `delay_us`.
  void add(std::int64_t delay_us) {
    starts_us.push_back(end_us);
    end_us += delay_us;
  }
};

// A frame as it is shown: `shape.height` rows at `pixels`. Valid until the next call.
struct ShownFrame {
  FrameShape shape;
  const std::uint8_t* pixels = nullptr;
  std::size_t stride = 0;
};

class AnimationReader {
 public:
  virtual ~AnimationReader() = default;
  [[nodiscard]] virtual const Timeline& timeline() const = 0;
  [[nodiscard]] virtual const char* codec() const = 0;
  // REQUIRES: `index` is a frame of the timeline and not before the last one that was shown. After an error
  // nothing more can be shown.
  virtual Result<ShownFrame> show(std::uint32_t index) = 0;
};

using OpenedAnimation = Result<std::unique_ptr<AnimationReader>>;

// Errors: kInvalidContent (no frame is whole), kTooLarge (frames, duration, canvas), kOverloaded.
OpenedAnimation open_gif(std::span<const std::uint8_t> data, const MediaInfo& info,
                         const MediaLimits& limits);
OpenedAnimation open_apng(std::span<const std::uint8_t> data, const MediaInfo& info,
                          const MediaLimits& limits);
OpenedAnimation open_webp_animation(std::span<const std::uint8_t> data, const MediaInfo& info,
                                    const MediaLimits& limits);
OpenedAnimation open_avif_sequence(std::span<const std::uint8_t> data, const MediaInfo& info,
                                   const MediaLimits& limits);

// kTooLarge when there are more frames or more time than the limits allow.
Status check_timeline(const Timeline& timeline, const MediaLimits& limits);

}  // namespace floodgate
