// Videos and animated pictures: frames at planned times, one at a time.
//
// A FrameSource reads one sequence from memory that the caller keeps alive and unchanged. It is opened at a
// FrameCursor, which is all that need be kept of it: dropped and opened again anywhere at the cursor that
// next() left, it goes on with the same frames. What it plans depends on the bytes, the plan and the seed
// alone. Near-identical consecutive frames are dropped by the distance of their signatures: mean luma of a 16
// x 16 grid. Thread rule: one source, one thread. Refused: no frame that can be decoded (the reason says what
// there was instead).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <type_traits>

#include "floodgate/decode.h"
#include "floodgate/media.h"
#include "floodgate/status.h"

namespace floodgate {

inline constexpr std::uint32_t kMaxPlannedFrames = 1024;

// Which frames of a sequence are wanted. Times are chosen so: the first and the last frame always; of the
// rest three quarters are key frames (or, for an animation, frames) spread evenly, one quarter (at least one)
// frames at times drawn with `seed`, so that content between key frames cannot hide. Plain data.
struct SamplingPlan {
  std::uint32_t max_frames = 1;  // 1 .. kMaxPlannedFrames, first and last included
  std::uint32_t min_interval_ms =
      0;  // no more frames than two and one for every so many ms; key frames so far apart
  std::uint64_t seed = 0;

  bool operator==(const SamplingPlan&) const = default;
};

// Mean luma, 0..255, of a 16 x 16 grid over the stored picture, row by row.
inline constexpr std::size_t kSignatureSide = 16;
using FrameSignature = std::array<std::uint8_t, kSignatureSide * kSignatureSide>;

// Whether two frames show the same to a classifier: every cell within kSimilarCell of its peer and the mean
// distance within kSimilarMean.
inline constexpr int kSimilarCell = 6;
inline constexpr double kSimilarMean = 1.5;
bool similar(const FrameSignature& a, const FrameSignature& b);

// How far a sequence has come. Plain data.
struct FrameCursor {
  std::uint32_t next = 0;          // index of the next planned frame
  std::int64_t last_time_us = -1;  // presentation time of the last decoded frame; -1: none yet
  std::uint32_t decoded = 0;       // frames decoded so far, near copies included
  bool has_signature = false;
  FrameSignature signature{};  // of the last frame that was not dropped
};

// What is worth telling about a sequence, as bits.
enum SequenceNote : std::uint32_t {
  kNoteTruncated = 1U << 0,        // the data ends early: frames before the end were judged
  kNoteDamaged = 1U << 1,          // some planned frames could not be decoded and were left out
  kNoteNoFirstKeyFrame = 1U << 2,  // what comes before the first key frame cannot be decoded
  kNoteToneMapped = 1U << 3,       // HDR (PQ or HLG) was mapped to standard range
  kNoteSizeChanges = 1U << 4,      // the frame size changes on the way
  kNoteNoIndex = 1U << 5,          // no usable index: the container was read through
  kNoteOtherStreams = 1U << 6,     // more than one video stream: only the main one was judged
  kNoteTimesGoBack = 1U << 7,      // times of showing go back: frames were taken in the order of decoding
  kNoteOutOfOrder = 1U << 8,       // frames whose times go back were met on the way and left out
  kNoteMissing = 1U << 9,          // the container is damaged, or holds less than it declares
  kNoteLast = kNoteMissing,
};

// What is known of the whole sequence once it is open. Plain data.
struct SequenceFacts {
  std::uint32_t width = 0;  // as shown: upright, square pixels
  std::uint32_t height = 0;
  std::int64_t duration_ms = 0;  // of what can be read; 0: unknown
  std::uint32_t planned = 0;     // frames the plan came to
  std::uint32_t notes = 0;       // SequenceNote bits; may grow with every next()
  char codec[16] = {};           // "h264", "hevc", "vp9", "av1", "gif", …
};

enum class StepKind : std::uint8_t {
  kFrame = 1,  // the sink got the frame at `time_ms`
  kSimilar,    // the frame at `time_ms` is a near copy of the last one: the sink saw nothing
  kEnd,        // no more frames; the sink saw nothing
};

struct FrameStep {
  StepKind kind = StepKind::kEnd;
  std::int64_t time_ms = 0;  // presentation time, counted from the first frame shown
};

static_assert(std::is_trivially_copyable_v<FrameCursor> && std::is_trivially_copyable_v<SequenceFacts> &&
              std::is_trivially_copyable_v<SamplingPlan>);

class FrameSource {
 public:
  virtual ~FrameSource() = default;

  // REQUIRES: info.is_sequence(); `data` outlives the source. Errors: kInvalidContent (nothing can be read),
  // kUnsupported (no video stream, an unknown codec; says which), kTooLarge (pixels, duration, frames).
  static Result<std::unique_ptr<FrameSource>> open(std::span<const std::uint8_t> data, const MediaInfo& info,
                                                   const MediaLimits& limits, const SamplingPlan& plan,
                                                   const FrameCursor& cursor);

  // Decodes the next planned frame into `sink`. An error is final, and comes only while no frame has been
  // decoded; later, what cannot be decoded is left out and noted.
  virtual Result<FrameStep> next(FrameCursor& cursor, RowSink& sink) = 0;

  [[nodiscard]] virtual const SequenceFacts& facts() const = 0;
};

// Whether some of what should be there could not be judged: the data was truncated or damaged, or hides
// frames behind times that go back.
constexpr bool is_partial(std::uint32_t notes) {
  return (notes & (kNoteTruncated | kNoteDamaged | kNoteOutOfOrder | kNoteMissing)) != 0;
}

// One sentence for a person about each bit of `notes`, joined by "; "; empty when there are none.
std::string describe_notes(std::uint32_t notes);

}  // namespace floodgate
