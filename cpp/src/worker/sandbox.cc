#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "floodgate/decode_worker.h"
#include "result_check.h"
#include "worker_process.h"
#include "zygote.h"

namespace floodgate {
namespace {

using sandbox::Outcome;
using sandbox::Reply;
using sandbox::WorkerProcess;
using sandbox::Zygote;

// A worker is replaced after so many jobs, which bounds what leaks, and how long one that was taken over can
// wait for somebody else's content. A replacement costs a millisecond or two.
constexpr std::uint32_t kJobsALife = 1024;

// How often a job is tried when it is not to blame for what happened to its worker: what killed that may have
// killed the one forked ahead as well.
constexpr int kAttempts = 3;

void say(DecodeResult& result, Code code, const std::string& message) {
  result.code = code;
  std::memset(result.message, 0, sizeof result.message);
  std::memcpy(result.message, message.data(), std::min(message.size(), kMaxFailureText - 1));
}

std::string over_cpu_text(const DecodeJob& job) {
  return "decoding took more than " + std::to_string(job.limits.max_cpu_ms) +
         " ms of CPU time, the limit (max_cpu_ms)";
}

std::string over_memory_text(std::uint64_t bytes) {
  return "decoding needs more memory than the " + std::to_string(bytes >> 20) +
         " MiB that a decoder may use (decoder_memory_bytes)";
}

// The programs that decode, each with a zygote of its own: one for the everyday formats, which loads few
// libraries, so that there is less to copy and clear with each worker, and one for all.
enum class Program : std::uint8_t { kPictures, kAll };
constexpr std::size_t kPrograms = 2;

Program program_for(Format format) {
  switch (format) {
    case Format::kJpeg:
    case Format::kPng:
    case Format::kWebp:
    case Format::kGif:
    case Format::kBmp:
      return Program::kPictures;
    default:
      return Program::kAll;
  }
}

SandboxOptions options_for(SandboxOptions options, Program program) {
  if (program == Program::kPictures) {
    options.program = std::filesystem::path(options.program).replace_filename("floodgate-picture-decoder");
  }
  return options;
}

using Zygotes = std::array<std::shared_ptr<Zygote>, kPrograms>;

class Workers;

class Worker final : public DecodeWorker {
 public:
  Worker(Workers& workers, std::unique_ptr<WorkerProcess> pictures) : workers_(workers) {
    process(Program::kPictures) = std::move(pictures);
  }
  DecodeResult run(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions) override;
  void idle() override {
    for (const auto& process : processes_) {
      if (process) process->tidy();
    }
  }

 private:
  DecodeResult run_here(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions);
  // Whether the job is to be tried again.
  bool settle(const DecodeJob& job, Outcome outcome, bool last, DecodeResult& result);
  bool settle_no_memory(Program program, bool last, DecodeResult& result);
  bool settle_death(const std::optional<Reply>& end, bool last, DecodeResult& result);
  Status renew(Program program);
  std::unique_ptr<WorkerProcess>& process(Program program) {
    return processes_[static_cast<std::size_t>(program)];
  }

  Workers& workers_;
  // Null before the first such job and after a loss that could not be made good.
  std::array<std::unique_ptr<WorkerProcess>, kPrograms> processes_;
  DecodeRunner texts_;
};

class Workers final : public DecodeWorkers {
 public:
  Workers(SandboxOptions options, Zygotes zygotes, std::unique_ptr<ArenaSpace> arenas)
      : options_(std::move(options)), arenas_(std::move(arenas)), zygotes_(std::move(zygotes)) {}

  Result<std::unique_ptr<DecodeWorker>> make_worker() override {
    auto process = start(Program::kPictures);
    if (!process.ok()) return process.status();
    return std::unique_ptr<DecodeWorker>(std::make_unique<Worker>(*this, std::move(process).value()));
  }

  [[nodiscard]] WorkerLosses losses() const override {
    return {crashed.load(), forbidden.load(), hung.load(), over_cpu.load(), over_memory.load()};
  }

  // A confined process. When the zygote turns out to be dead another one is started.
  Result<std::unique_ptr<WorkerProcess>> start(Program program) {
    Status failed;
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
      auto zygote = living_zygote(program);
      if (!zygote.ok()) return zygote.status();
      auto process = WorkerProcess::start(std::move(zygote).value(), options_.hang_ms * kMillisecond);
      if (process.ok()) return process;
      failed = process.status();
    }
    return failed;
  }

  [[nodiscard]] std::span<const std::uint8_t> arena() const { return arenas_->bytes(); }
  [[nodiscard]] std::uint64_t memory_bytes() const { return options_.memory_bytes; }

  std::atomic<std::uint64_t> crashed{0};
  std::atomic<std::uint64_t> forbidden{0};
  std::atomic<std::uint64_t> hung{0};
  std::atomic<std::uint64_t> over_cpu{0};
  std::atomic<std::uint64_t> over_memory{0};

 private:
  Result<std::shared_ptr<Zygote>> living_zygote(Program program) {
    std::shared_ptr<Zygote> dead;  // collected without the lock
    const std::lock_guard lock(mu_);
    auto& zygote = zygotes_[static_cast<std::size_t>(program)];
    if (zygote != nullptr && zygote->dead()) dead = std::exchange(zygote, nullptr);
    if (zygote == nullptr) {
      auto started = Zygote::start(options_for(options_, program));
      if (!started.ok()) return started.status();
      zygote = std::move(started).value();
    }
    return zygote;
  }

  const SandboxOptions options_;
  const std::unique_ptr<ArenaSpace> arenas_;

  std::mutex mu_;
  Zygotes zygotes_;  // guarded by mu_
};

// A text row is copied, not decoded: no sandbox is needed for it.
DecodeResult Worker::run_here(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions) {
  std::array<std::span<std::uint8_t>, kMaxTargets> bytes;
  for (std::size_t i = 0; i < regions.size(); ++i) bytes[i] = regions[i]->bytes();
  return texts_.run(job, workers_.arena(), {bytes.data(), regions.size()});
}

DecodeResult Worker::run(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions) {
  DecodeResult result;
  bool inside = job.target_count <= kMaxTargets && regions.size() <= kMaxTargets;
  for (std::uint32_t i = 0; inside && i < job.target_count; ++i) {
    inside = job.targets[i].region < regions.size();
  }
  if (!inside) {
    say(result, Code::kInternal, "a decode job points outside its memory");
    return result;
  }
  if (job.kind == DecodeJob::Kind::kText) return run_here(job, regions);
  if (job.cpu_used_ns > Nanos{job.limits.max_cpu_ms} * kMillisecond) {
    say(result, Code::kTooLarge, over_cpu_text(job));
    return result;
  }
  const Program program = program_for(job.info.format);
  for (int attempt = 1;; ++attempt) {
    result = {};
    if (process(program) == nullptr || process(program)->jobs() >= kJobsALife) {
      if (Status renewed = renew(program); !renewed.ok()) {
        say(result, renewed.code(), renewed.message());
        return result;
      }
    }
    const Outcome outcome = process(program)->run(job, regions, result);
    if (!settle(job, outcome, attempt == kAttempts, result)) return result;
  }
}

Status Worker::renew(Program program) {
  process(program).reset();
  auto started = workers_.start(program);
  if (!started.ok()) return started.status();
  process(program) = std::move(started).value();
  process(program)->begin_here();
  return {};
}

bool Worker::settle(const DecodeJob& job, Outcome outcome, bool last, DecodeResult& result) {
  const Program program = program_for(job.info.format);
  DecodeResult lost;
  lost.worker_lost = true;
  lost.decode_ns = result.decode_ns;
  lost.cpu_ns = result.cpu_ns;
  if (outcome == Outcome::kAnswered) {
    if (sandbox::make_safe(job, result)) {
      if (result.code != Code::kOverloaded) return false;
      return settle_no_memory(program, last, result);
    }
    outcome = Outcome::kNonsense;
  }
  result = lost;
  const Nanos start = monotonic_now();
  const std::optional<Reply> end = process(program)->end();
  process(program).reset();
  result.decode_ns += monotonic_now() - start;  // until then it has the worker
  switch (outcome) {
    case Outcome::kHung:
      workers_.hung.fetch_add(1);
      say(result, Code::kInvalidContent, "the decoder hung");
      return false;
    case Outcome::kOverCpu:
      workers_.over_cpu.fetch_add(1);
      say(result, Code::kTooLarge, over_cpu_text(job));
      return false;
    case Outcome::kNonsense:
      workers_.crashed.fetch_add(1);
      say(result, Code::kInvalidContent, "the decoder gave an answer that makes no sense");
      return false;
    case Outcome::kNotTaken:
      if (!last) return true;
      [[fallthrough]];
    default:
      return settle_death(end, last, result);
  }
}

// What earlier jobs left behind may be in the way, so a fresh worker has the last word.
bool Worker::settle_no_memory(Program program, bool last, DecodeResult& result) {
  const bool fresh = process(program)->jobs() == 1;
  process(program).reset();
  if (!fresh && !last) return true;
  workers_.over_memory.fetch_add(1);
  say(result, Code::kTooLarge, over_memory_text(workers_.memory_bytes()));
  return false;
}

bool Worker::settle_death(const std::optional<Reply>& end, bool last, DecodeResult& result) {
  // SIGKILL is nothing that a decoder does to itself: its zygote died, or the machine ran out of memory.
  const bool killed = !end || (end->signalled && end->ended_by == SIGKILL);
  if (killed && !last) return true;
  if (end && end->signalled && end->ended_by == SIGSYS) {
    workers_.forbidden.fetch_add(1);
    say(result, Code::kInvalidContent, "the decoder tried something that the sandbox forbids");
    return false;
  }
  if (end && !end->signalled && end->ended_by == sandbox::kExitOutOfMemory) {
    workers_.over_memory.fetch_add(1);
    say(result, Code::kTooLarge, over_memory_text(workers_.memory_bytes()));
    return false;
  }
  workers_.crashed.fetch_add(1);
  const char* name = end && end->signalled ? sigabbrev_np(end->ended_by) : nullptr;
  say(result, Code::kInvalidContent,
      name != nullptr ? std::string("the decoder crashed (SIG") + name + ")" : "the decoder crashed");
  return false;
}

}  // namespace

Result<std::unique_ptr<DecodeWorkers>> sandboxed_workers(const SandboxOptions& options) {
  constexpr std::array kBoth = {Program::kAll, Program::kPictures};
  Zygotes zygotes;
  for (const Program program : kBoth) {
    auto zygote = Zygote::start(options_for(options, program));
    if (!zygote.ok()) return zygote.status();
    zygotes[static_cast<std::size_t>(program)] = std::move(zygote).value();
  }
  std::vector<ArenaPiece> pieces = {{options.arena_fd, options.arena_bytes}};
  pieces.insert(pieces.end(), options.more_arenas.begin(), options.more_arenas.end());
  auto arenas = ArenaSpace::map(pieces);
  if (!arenas.ok()) return arenas.status();
  auto workers = std::make_unique<Workers>(options, std::move(zygotes), std::move(arenas).value());
  // Whether workers can confine themselves here is found out now, not with the first picture.
  for (const Program program : kBoth) {
    if (auto tried = workers->start(program); !tried.ok()) return tried.status();
  }
  return std::unique_ptr<DecodeWorkers>(std::move(workers));
}

}  // namespace floodgate
