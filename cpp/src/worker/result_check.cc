#include "result_check.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>

namespace floodgate::sandbox {
namespace {

constexpr std::uint32_t kKnownNotes = kNoteLast * 2 - 1;
// Beyond any picture's side, pixels made square included.
constexpr std::uint32_t kMostSidePx = 1U << 20;

// Printable ASCII up to the first NUL, zeros from there on.
void clean(std::span<char> text) {
  const auto end = std::find(text.begin(), text.end() - 1, '\0');
  std::replace_if(
      text.begin(), end, [](char c) { return c < ' ' || c > '~'; }, '?');
  std::fill(end, text.end(), '\0');
}

bool may_answer(Code code) {
  switch (code) {
    case Code::kOk:
    case Code::kInvalidContent:
    case Code::kUnsupported:
    case Code::kTooLarge:
    case Code::kInvalidArgument:
    case Code::kOverloaded:
    case Code::kInternal:
      return true;
    default:
      return false;
  }
}

bool known(StepKind step) {
  return step == StepKind::kFrame || step == StepKind::kSimilar || step == StepKind::kEnd;
}

void clamp_facts(const DecodeJob& job, SequenceFacts& facts) {
  facts.width = std::min(facts.width, kMostSidePx);
  facts.height = std::min(facts.height, kMostSidePx);
  facts.duration_ms = std::clamp<std::int64_t>(facts.duration_ms, 0, job.limits.max_duration_ms);
  facts.planned = std::min(facts.planned, job.plan.max_frames);
  facts.notes &= kKnownNotes;
  clean(facts.codec);
}

}  // namespace

bool make_safe(const DecodeJob& job, DecodeResult& result) {
  result.worker_lost = false;
  if (!may_answer(result.code)) return false;
  clean(result.message);
  if (result.code == Code::kOk) {
    std::fill(std::begin(result.message), std::end(result.message), '\0');
  } else if (result.message[0] == '\0') {
    return false;
  }
  if (job.kind != DecodeJob::Kind::kFrame) {
    result.step = StepKind::kFrame;
    result.time_ms = 0;
    result.cursor = {};
    result.facts = {};
    return true;
  }
  if (result.code == Code::kOk) {
    if (!known(result.step)) return false;
    // A sequence that stood still would be asked for its next frame for ever.
    if (result.step != StepKind::kEnd && result.cursor.next <= job.cursor.next) return false;
  }
  const std::int64_t last_ms = job.limits.max_duration_ms;
  result.time_ms = std::clamp<std::int64_t>(result.time_ms, 0, last_ms);
  // A bool that is neither 0 nor 1 may not even be looked at.
  std::uint8_t has_signature = 0;
  std::memcpy(&has_signature, &result.cursor.has_signature, 1);
  result.cursor.has_signature = has_signature == 1;
  result.cursor.next = std::min(result.cursor.next, kMaxPlannedFrames);
  result.cursor.last_time_us = std::clamp<std::int64_t>(result.cursor.last_time_us, -1, INT64_MAX / 2);
  clamp_facts(job, result.facts);
  return true;
}

}  // namespace floodgate::sandbox
