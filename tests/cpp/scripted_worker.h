// Decode workers that do what the content says: give frames, fail, crash or hang, at any place in a sequence.
#pragma once

#include <algorithm>
#include <cstdio>
#include <memory>
#include <span>
#include <vector>

#include "floodgate/decode_worker.h"
#include "scheduler_harness.h"

namespace floodgate::testing {

inline constexpr char kCrashing = 'C';  // the worker is lost
inline constexpr char kHanging = 'H';   // the worker is lost, when whoever watches it says so

// Gates that content may have to pass; the ones that it does not need may be null.
struct Gates {
  Gate* frames = nullptr;    // 'g' in a script
  Gate* pictures = nullptr;  // kGated
  Gate* hung = nullptr;      // kHanging, and 'h' in a script
};

// A sequence is its ticket's id and a script: 'f' a frame, 's' a near copy, 'x' a failure, 'c' a lost worker,
// 'g' a frame once the gate is open, 'h' a worker that is lost once that one is. Frame n is shown at 100 n ms
// and bears the id.
class ScriptedWorker final : public DecodeWorker {
 public:
  ScriptedWorker(std::span<const std::uint8_t> arena, Gates gates) : arena_(arena), gates_(gates) {}

  DecodeResult run(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions) override {
    switch (job.kind) {
      case DecodeJob::Kind::kText:
        return lay_out(job, regions);
      case DecodeJob::Kind::kPicture:
        return decode_picture(job, regions);
      case DecodeJob::Kind::kFrame:
        return next_frame(job, regions);
    }
    return {};
  }

 private:
  static constexpr const char* kGivenBack = "its bytes were given back while it read them";
  using Regions = std::span<const std::shared_ptr<SharedRegion>>;

  static void fail(DecodeResult& result, bool lost) {
    result.code = Code::kInvalidContent;
    result.worker_lost = lost;
    std::snprintf(result.message, sizeof result.message, "the script says so");
  }

  // What a broken decode leaves behind lies in the row all the same.
  void fill(const DecodeJob& job, Regions regions) const {
    const auto data = arena_.subspan(job.input.offset, job.input.size);
    for (std::uint32_t i = 0; i < job.target_count; ++i) {
      const RowTarget& target = job.targets[i];
      auto row = regions[target.region]->bytes().subspan(target.offset, target.bytes);
      for (std::size_t at = 0; at < row.size(); ++at) row[at] = data[1 + at % 8];
    }
  }

  DecodeResult lay_out(const DecodeJob& job, Regions regions) {
    std::vector<std::span<std::uint8_t>> bytes;
    for (const auto& region : regions) bytes.push_back(region->bytes());
    return text_.run(job, arena_, bytes);
  }

  DecodeResult decode_picture(const DecodeJob& job, Regions regions) const {
    const auto kind = static_cast<char>(arena_[job.input.offset]);
    DecodeResult result;
    if (kind == kGated) gates_.pictures->pass();
    fill(job, regions);
    if (kind == kHanging) gates_.hung->pass();
    EXPECT_EQ(arena_[job.input.offset], static_cast<std::uint8_t>(kind)) << kGivenBack;
    if (kind == kBroken || kind == kCrashing || kind == kHanging) fail(result, kind != kBroken);
    return result;
  }

  DecodeResult next_frame(const DecodeJob& job, Regions regions) const {
    DecodeResult result;
    const auto script = arena_.subspan(job.input.offset, job.input.size).subspan(9);
    result.cursor = job.cursor;
    result.facts.planned =
        static_cast<std::uint32_t>(std::min<std::size_t>(script.size(), job.plan.max_frames));
    result.facts.duration_ms = 100 * static_cast<std::int64_t>(script.size());
    if (job.cursor.next >= result.facts.planned) {
      result.step = StepKind::kEnd;
      return result;
    }
    const char kind = static_cast<char>(script[job.cursor.next]);
    result.time_ms = 100 * std::int64_t{job.cursor.next};
    ++result.cursor.next;
    switch (kind) {
      case 'g':
        gates_.frames->pass();
        [[fallthrough]];
      case 'f':
        fill(job, regions);
        break;
      case 's':
        result.step = StepKind::kSimilar;
        break;
      case 'h':
        gates_.hung->pass();
        [[fallthrough]];
      default:
        fail(result, kind != 'x');
    }
    EXPECT_EQ(static_cast<char>(script[job.cursor.next]), kind) << kGivenBack;
    return result;
  }

  const std::span<const std::uint8_t> arena_;
  const Gates gates_;
  DecodeRunner text_;
};

class ScriptedWorkers final : public DecodeWorkers {
 public:
  ScriptedWorkers(std::span<const std::uint8_t> arena, Gates gates) : arena_(arena), gates_(gates) {}
  Result<std::unique_ptr<DecodeWorker>> make_worker() override {
    return std::unique_ptr<DecodeWorker>(std::make_unique<ScriptedWorker>(arena_, gates_));
  }

 private:
  const std::span<const std::uint8_t> arena_;
  const Gates gates_;
};

}  // namespace floodgate::testing
