#include "floodgate/sequence.h"

#include <cstdlib>
#include <string_view>
#include <utility>

#include "frame_sources.h"

namespace floodgate {

bool similar(const FrameSignature& a, const FrameSignature& b) {
  int sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const int distance = std::abs(int{a[i]} - int{b[i]});
    if (distance > kSimilarCell) return false;
    sum += distance;
  }
  return sum <= kSimilarMean * static_cast<double>(a.size());
}

std::string describe_notes(std::uint32_t notes) {
  using namespace std::string_view_literals;
  constexpr std::pair<std::uint32_t, std::string_view> kSentences[] = {
      {kNoteTruncated, "the data ends early; the frames before its end were judged"sv},
      {kNoteDamaged, "some frames could not be decoded and were left out"sv},
      {kNoteNoFirstKeyFrame, "what comes before the first key frame cannot be decoded"sv},
      {kNoteToneMapped, "high dynamic range was mapped to standard range"sv},
      {kNoteSizeChanges, "the frame size changes on the way"sv},
      {kNoteNoIndex, "the container has no usable index and was read through"sv},
      {kNoteOtherStreams, "of several video streams only the main one was judged"sv},
      {kNoteTimesGoBack, "presentation times go back: frames were taken in the order of decoding"sv},
      {kNoteOutOfOrder, "some frames' presentation times go back; they were left out"sv},
      {kNoteMissing, "the file is damaged or holds less than it declares; what is missing was not judged"sv},
  };
  std::string text;
  for (const auto& [bit, sentence] : kSentences) {
    if ((notes & bit) == 0) continue;
    if (!text.empty()) text += "; ";
    text += sentence;
  }
  return text;
}

Result<std::unique_ptr<FrameSource>> FrameSource::open(std::span<const std::uint8_t> data,
                                                       const MediaInfo& info, const MediaLimits& limits,
                                                       const SamplingPlan& plan, const FrameCursor& cursor) {
  return is_video(info.format) ? open_video(data, info, limits, plan, cursor)
                               : open_animation(data, info, limits, plan, cursor);
}

}  // namespace floodgate
