#include <algorithm>
#include <array>
#include <cstring>
#include <list>
#include <utility>

#include "floodgate/job.h"

namespace floodgate {
namespace {

bool inside(std::uint64_t offset, std::uint64_t bytes, std::uint64_t size) {
  return offset <= size && bytes <= size - offset;
}

Status outside() { return Status(Code::kInternal, "a decode job points outside its memory"); }

Status copy_text(std::span<const std::uint8_t> text, std::span<std::uint8_t> row, std::uint8_t* length) {
  if (text.size() > row.size()) return outside();
  std::copy(text.begin(), text.end(), row.begin());
  std::fill(row.begin() + static_cast<std::ptrdiff_t>(text.size()), row.end(), std::uint8_t{0});
  const auto bytes = static_cast<std::int32_t>(text.size());
  std::memcpy(length, &bytes, sizeof bytes);
  return {};
}

// The memory that a job names, once all of it was found to lie inside the mappings.
struct Memory {
  std::span<const std::uint8_t> input;
  std::array<RenderTarget, kMaxTargets> rows;
};

Result<Memory> resolve(const DecodeJob& job, std::span<const std::uint8_t> arena,
                       std::span<const std::span<std::uint8_t>> regions) {
  if (!inside(job.input.offset, job.input.size, arena.size()) || job.target_count > kMaxTargets) {
    return outside();
  }
  Memory memory;
  memory.input = arena.subspan(job.input.offset, job.input.size);
  for (std::uint32_t i = 0; i < job.target_count; ++i) {
    const RowTarget& target = job.targets[i];
    if (target.region >= regions.size()) return outside();
    const auto region = regions[target.region];
    if (!inside(target.offset, target.bytes, region.size())) return outside();
    const auto row = region.subspan(target.offset, target.bytes);
    if (job.kind == DecodeJob::Kind::kText) {
      if (!inside(target.length_offset, sizeof(std::int32_t), region.size())) return outside();
      if (Status copied = copy_text(memory.input, row, region.data() + target.length_offset); !copied.ok())
        return copied;
    }
    memory.rows[i] = {&target.view, row};
  }
  return memory;
}

}  // namespace

// Sequences parked between their frames, the last used one first. One that is over for reasons the runner
// never hears of stays until others push it out: it owns memory, but reads its input only when asked for a
// frame.
class DecodeRunner::Sequences {
 public:
  Status step(const DecodeJob& job, const Memory& memory, DecodeResult& result) {
    auto source = take(job);
    if (!source) {
      auto opened = FrameSource::open(memory.input, job.info, job.limits, job.plan, job.cursor);
      if (!opened.ok()) return opened.status();
      source = std::move(opened).value();
    }
    ViewRenderer renderer({memory.rows.data(), job.target_count});
    result.cursor = job.cursor;
    const auto step = source->next(result.cursor, renderer);
    result.facts = source->facts();
    if (!step.ok()) return step.status();
    result.step = step.value().kind;
    result.time_ms = step.value().time_ms;
    if (result.step == StepKind::kFrame && !renderer.complete()) {
      return {Code::kInternal, "the decoder left out rows of the frame"};
    }
    // After its last frame nobody asks again, and an open decoder may hold hundreds of megabytes.
    if (result.step == StepKind::kEnd || result.cursor.next >= result.facts.planned) return {};
    parked_.push_front({job.sequence, result.cursor.next, std::move(source)});
    if (parked_.size() > kOpenSequences) parked_.pop_back();
    return {};
  }

 private:
  struct Parked {
    std::uint64_t sequence;
    std::uint32_t next;
    std::unique_ptr<FrameSource> source;
  };

  std::unique_ptr<FrameSource> take(const DecodeJob& job) {
    const auto found = std::ranges::find(parked_, job.sequence, &Parked::sequence);
    if (found == parked_.end()) return nullptr;
    // Another worker has taken it further meanwhile.
    auto source = found->next == job.cursor.next ? std::move(found->source) : nullptr;
    parked_.erase(found);
    return source;
  }

  std::list<Parked> parked_;
};

DecodeRunner::DecodeRunner(DecodeFn decode)
    : decode_(decode ? std::move(decode) : decode_and_render), sequences_(std::make_unique<Sequences>()) {}
DecodeRunner::~DecodeRunner() = default;

Status decode_and_render(std::span<const std::uint8_t> encoded, const MediaInfo& info,
                         const MediaLimits& limits, const DecodeOptions& options,
                         std::span<const RenderTarget> targets) {
  ViewRenderer renderer(targets);
  if (Status decoded = decode(encoded, info, limits, options, renderer); !decoded.ok()) return decoded;
  if (!renderer.complete()) return {Code::kInternal, "the decoder left out rows of the picture"};
  return {};
}

DecodeResult DecodeRunner::run(const DecodeJob& job, std::span<const std::uint8_t> arena,
                               std::span<const std::span<std::uint8_t>> regions) {
  const Nanos start = monotonic_now();
  const Nanos cpu_start = thread_cpu_now();
  DecodeResult result;
  const Status status = [&]() -> Status {
    const auto memory = resolve(job, arena, regions);
    if (!memory.ok()) return memory.status();
    const std::span targets(memory.value().rows.data(), job.target_count);
    switch (job.kind) {
      case DecodeJob::Kind::kText:
        return {};
      case DecodeJob::Kind::kPicture:
        return decode_(memory.value().input, job.info, job.limits, job.options, targets);
      case DecodeJob::Kind::kFrame:
        return sequences_->step(job, memory.value(), result);
    }
    return outside();
  }();
  result.code = status.code();
  const std::size_t kept = std::min(status.message().size(), kMaxFailureText - 1);
  std::memcpy(result.message, status.message().data(), kept);
  result.decode_ns = monotonic_now() - start;
  result.cpu_ns = thread_cpu_now() - cpu_start;
  return result;
}

}  // namespace floodgate
