// What goes into the scheduler and what comes out: ensembles, batches, answers.
//
// Plain values; a Done shares the names in its EnsembleConfig instead of copying them. Thread rule: values.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "floodgate/clock.h"
#include "floodgate/job.h"
#include "floodgate/lane.h"
#include "floodgate/media.h"
#include "floodgate/sha256.h"
#include "floodgate/status.h"
#include "floodgate/tensor.h"
#include "floodgate/text.h"
#include "floodgate/view.h"

namespace floodgate {

// Most ensembles that are served at once: one bit each.
inline constexpr std::size_t kMaxEnsembles = 32;

using View = std::variant<ImageView, TextView>;

// The digest of more would hold whoever makes it up for too long.
inline constexpr std::uint64_t kMostDigestedBytes = 1 << 20;

struct TensorConfig {
  std::string name;
  View view;
};

// One float32 output of a head, `elements` a row.
struct OutputConfig {
  std::string name;  // "<head>__<output>"
  std::string head;
  std::uint32_t elements = 0;
};

// Text ensembles have one tensor, sent as `<name>` uint8[n, L] and `<name>_length` int32[n, 1].
struct EnsembleConfig {
  std::string name;
  Modality modality = Modality::kImage;
  std::vector<TensorConfig> tensors;
  std::vector<OutputConfig> outputs;
  std::vector<std::string> heads;
  std::uint32_t max_batch = 8;
  std::uint32_t buffers =
      4;  // at least credit + 1, so that a batch can be closed while a row is still decoding
  std::uint32_t credit = 2;   // most batches in flight at once
  std::string device;         // what it runs on; ensembles that name the same one share its time
  bool shares_cores = false;  // with the decode workers
};

// kInvalidArgument, naming the ensemble and the member, when the configuration cannot be served.
Status validate(const EnsembleConfig& config);

// A closed batch. Its rows may be read until it is completed, failed or its region's server is gone.
struct Batch {
  std::uint64_t batch_id = 0;
  std::uint64_t generation = 0;
  std::string ensemble;
  std::uint32_t rows = 0;
  Nanos deadline_ns = 0;  // the latest among its rows
  std::vector<TensorRef> tensors;
};

// One output of an answered batch: float32[rows, elements], C-contiguous, borrowed for the call.
struct OutputValues {
  std::string_view name;
  std::span<const float> values;
};

// Why a head gave no scores. `reason`: deadline, unavailable, failed, bad_output, non_finite, breaker_open, …
struct HeadFailure {
  std::string head;
  std::string reason;
  std::string message;
};

struct MissingHead {
  std::string head;
  std::string reason;
};

// What one ensemble said about one row.
struct RowScores {
  std::shared_ptr<const EnsembleConfig> config;
  std::vector<float> values;         // all outputs in the config's order; NaN where the head is missing
  std::vector<MissingHead> missing;  // each head at most once

  // The values of output `index`, or nothing when its head is missing: a missing score is never a number.
  [[nodiscard]] std::optional<std::span<const float>> output(std::size_t index) const;
};

struct DoneRow {
  std::int64_t time_ms = 0;  // presentation time; 0 for a photo or a text
  TextSpan span;             // text: the bytes the row covers
  std::vector<RowScores> scores;
};

// Microseconds. queue: submit to the first decode; decode: all of the ticket's decodes; batch: ready to sent,
// and infer: sent to answered, both of the slowest row. ended_ns: when the answer was ready (monotonic
// clock).
struct Timings {
  std::int64_t queue_us = 0;
  std::int64_t decode_us = 0;
  std::int64_t batch_us = 0;
  std::int64_t infer_us = 0;
  Nanos ended_ns = 0;
};

// The one answer to a ticket. Code kOk: every row of every ensemble was answered, though heads may be
// missing. kDeadlineExceeded: rows hold what was there at the deadline. kCancelled, content errors: no rows.
// kUnavailable, kInternal, kOverloaded: no batch of the ticket succeeded, with the reason of the last.
// A digest is to be had of whatever has at most kMostDigestedBytes and was not cancelled.
struct Done {
  std::uint64_t ticket = 0;
  Code code = Code::kOk;
  std::string message;
  std::optional<MediaInfo> info;  // pictures and videos
  SequenceFacts sequence;         // of an animated picture or a video, once it was opened; else all zero
  std::vector<DoneRow> rows;
  Timings timings;
  std::uint32_t frames_sampled = 0;        // rows that reached a batch buffer
  std::uint32_t frames_dropped = 0;        // frames left out as near copies of the one before
  std::uint32_t frames_missed = 0;         // planned rows that were not decoded in time
  std::uint64_t copied_bytes = 0;          // encoded bytes copied into the arena
  std::optional<Sha256> digest;            // of the encoded bytes
  std::shared_ptr<ArenaLease> undigested;  // they themselves, where nobody has made it: see digest_of()
  Nanos retry_after_ns = 0;                // kOverloaded, refused by another process's scheduler; see Status
};

// The digest, made now where nobody has; the bytes are let go of. Not by poll_done(): hundreds may have
// expired at once, and most of them have no record that needs it.
const std::optional<Sha256>& digest_of(Done& done);

}  // namespace floodgate
