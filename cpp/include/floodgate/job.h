// One decode as plain data: which bytes of the arena, into which rows of which regions.
//
// A DecodeJob and its DecodeResult have a fixed size and no pointers, so that a worker may be a thread here
// or a process elsewhere that has mapped the same memory: run_decode_job() needs nothing but the job, the
// mappings and the codec. Thread rule: stateless; the rows a job names belong to it until its result is back.
// Refused: a job whose offsets leave its mappings (kInternal).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <type_traits>

#include "floodgate/arena.h"
#include "floodgate/media.h"
#include "floodgate/status.h"
#include "floodgate/view.h"

namespace floodgate {

enum class Modality : std::uint8_t { kImage = 1, kText = 2 };

inline constexpr std::size_t kMaxTargets = 16;  // views one decode can serve
inline constexpr std::size_t kMaxFailureText = 240;

// One row of one tensor.
struct RowTarget {
  std::uint32_t region = 0;  // index into the regions given to run_decode_job()
  std::uint32_t bytes = 0;
  std::uint64_t offset = 0;         // of the row in the region
  std::uint64_t length_offset = 0;  // text: of the row's int32 length
  ImageView view;                   // images
};

struct DecodeJob {
  Modality modality = Modality::kImage;
  ArenaBlock input;  // text: the row's own bytes
  MediaInfo info;    // images
  MediaLimits limits;
  std::uint32_t target_count = 0;
  RowTarget targets[kMaxTargets];
};

struct DecodeResult {
  Code code = Code::kOk;
  char message[kMaxFailureText] = {};  // NUL-terminated; empty when code is kOk
  Nanos decode_ns = 0;                 // wall time of the job
  Nanos cpu_ns = 0;                    // CPU time that it took of its thread
};

static_assert(std::is_trivially_copyable_v<DecodeJob> && std::is_trivially_copyable_v<DecodeResult>);

// One view to render and where to.
struct RenderTarget {
  const ImageView* view = nullptr;
  std::span<std::uint8_t> row;
};

// Decodes `encoded` once and renders every target. Must be callable from many threads at once and must not
// throw.
using DecodeFn = std::function<Status(std::span<const std::uint8_t> encoded, const MediaInfo& info,
                                      const MediaLimits& limits, std::span<const RenderTarget> targets)>;

// floodgate::decode() and render_view(); a view asked for twice is rendered once.
Status decode_and_render(std::span<const std::uint8_t> encoded, const MediaInfo& info,
                         const MediaLimits& limits, std::span<const RenderTarget> targets);

// Runs one job. Text rows are copied and zero-filled to their row's end; pictures go through `decode`.
DecodeResult run_decode_job(const DecodeJob& job, std::span<const std::uint8_t> arena,
                            std::span<const std::span<std::uint8_t>> regions, const DecodeFn& decode);

}  // namespace floodgate
