// One decode as plain data: which bytes of the arena, into which rows of which regions.
//
// A DecodeJob and its DecodeResult have a fixed size and no pointers, so that a worker may be a thread here
// or a process elsewhere that has mapped the same memory: a DecodeRunner needs nothing but the job, the
// mappings and the codec. A job is one text row, one picture, or the next frame of a sequence; a runner keeps
// a few sequences open between their frames, and opens again at the job's cursor what it no longer has.
// Thread rule: one runner, one thread; the rows a job names belong to it until its result is back. Refused: a
// job whose offsets leave its mappings (kInternal).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>

#include "floodgate/arena.h"
#include "floodgate/decode.h"
#include "floodgate/media.h"
#include "floodgate/sequence.h"
#include "floodgate/status.h"
#include "floodgate/view.h"

namespace floodgate {

// kImage: whatever has pixels, videos too; the bytes tell which.
enum class Modality : std::uint8_t { kImage = 1, kText = 2 };

inline constexpr std::size_t kMaxTargets = 16;  // views one decode can serve
inline constexpr std::size_t kMaxFailureText = 240;
inline constexpr std::size_t kOpenSequences = 2;  // that a runner keeps between frames

// One row of one tensor.
struct RowTarget {
  std::uint32_t region = 0;  // index into the regions given to run()
  std::uint32_t bytes = 0;
  std::uint64_t offset = 0;         // of the row in the region
  std::uint64_t length_offset = 0;  // text: of the row's int32 length
  ImageView view;                   // pictures and frames
};

struct DecodeJob {
  enum class Kind : std::uint8_t { kText = 1, kPicture, kFrame };
  Kind kind = Kind::kPicture;
  ArenaBlock input;  // text: the row's own bytes
  MediaInfo info;    // pictures and sequences
  MediaLimits limits;
  DecodeOptions options;
  // kFrame: the next frame of which sequence, and how far it has come.
  std::uint64_t sequence = 0;  // never used for two sequences
  SamplingPlan plan;
  FrameCursor cursor;
  Nanos cpu_used_ns = 0;  // by earlier jobs of the same part
  std::uint32_t target_count = 0;
  RowTarget targets[kMaxTargets];
};

struct DecodeResult {
  Code code = Code::kOk;
  char message[kMaxFailureText] = {};  // NUL-terminated; empty when code is kOk
  bool worker_lost = false;            // the worker crashed, hung or met a limit of its sandbox
  StepKind step = StepKind::kFrame;    // kFrame jobs: what happened
  std::int64_t time_ms = 0;            // kFrame jobs: when the frame is shown
  FrameCursor cursor;                  // kFrame jobs: where the next job goes on
  SequenceFacts facts;                 // kFrame jobs
  Nanos decode_ns = 0;                 // wall time of the job
  Nanos cpu_ns = 0;                    // CPU time that it took of its thread
};

static_assert(std::is_trivially_copyable_v<DecodeJob> && std::is_trivially_copyable_v<DecodeResult>);

// Decodes `encoded` once and renders every target. Must be callable from many threads at once and must not
// throw.
using DecodeFn = std::function<Status(std::span<const std::uint8_t> encoded, const MediaInfo& info,
                                      const MediaLimits& limits, const DecodeOptions& options,
                                      std::span<const RenderTarget> targets)>;

// floodgate::decode() into a ViewRenderer.
Status decode_and_render(std::span<const std::uint8_t> encoded, const MediaInfo& info,
                         const MediaLimits& limits, const DecodeOptions& options,
                         std::span<const RenderTarget> targets);

class DecodeRunner {
 public:
  // `decode`: empty: decode_and_render.
  explicit DecodeRunner(DecodeFn decode = {});
  ~DecodeRunner();
  DecodeRunner(const DecodeRunner&) = delete;
  DecodeRunner& operator=(const DecodeRunner&) = delete;

  // Runs one job. Text rows are copied and zero-filled to their row's end.
  DecodeResult run(const DecodeJob& job, std::span<const std::uint8_t> arena,
                   std::span<const std::span<std::uint8_t>> regions);

 private:
  class Sequences;
  const DecodeFn decode_;
  const std::unique_ptr<Sequences> sequences_;
};

}  // namespace floodgate
