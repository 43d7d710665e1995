// The two kinds of FrameSource: videos through FFmpeg, animated pictures through their codec libraries.
#pragma once

#include <memory>
#include <span>

#include "floodgate/sequence.h"

namespace floodgate {

Result<std::unique_ptr<FrameSource>> open_video(std::span<const std::uint8_t> data, const MediaInfo& info,
                                                const MediaLimits& limits, const SamplingPlan& plan,
                                                const FrameCursor& cursor);
Result<std::unique_ptr<FrameSource>> open_animation(std::span<const std::uint8_t> data, const MediaInfo& info,
                                                    const MediaLimits& limits, const SamplingPlan& plan,
                                                    const FrameCursor& cursor);

}  // namespace floodgate
