#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cstring>
#include <map>

#include "../../cpp/decoder/warm_up_samples.h"
#include "sandbox_harness.h"
#include "worker/pidfd.h"
#include "worker/wire.h"

namespace floodgate {
namespace {

using testing::children_of;
using testing::Data;
using testing::faulty;
using testing::jpeg;
using testing::Process;
using testing::Sandbox;
using testing::sandbox_options;

TEST(Sandbox, DecodesWhatAThreadDecodesByteForByte) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  const auto threads = thread_workers(sandbox.arena->all_bytes(), {});
  const auto thread = threads->make_worker().value();
  for (const Data& data :
       {jpeg(640, 427), jpeg(64, 48, {.channels = 4}), jpeg(300, 200, {.progressive = true}),
        testing::png(100, 90), testing::webp(120, 80), testing::webp(31, 17, true, true)}) {
    const DecodeJob here = sandbox.job(data, 0);
    DecodeJob there = here;
    there.targets[0].offset = 4096;
    const DecodeResult expected = sandbox.run(*thread, here);
    const DecodeResult got = sandbox.run(*worker, there);
    EXPECT_EQ(expected.code, Code::kOk) << expected.message;
    EXPECT_EQ(got.code, Code::kOk) << got.message;
    EXPECT_EQ(sandbox.row(here), sandbox.row(there));
    EXPECT_GT(got.cpu_ns, 0);
    EXPECT_GT(got.decode_ns, 0);
  }
}

TEST(Sandbox, EveryCodecWorksWithoutWhatTheSandboxForbids) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  const auto threads = thread_workers(sandbox.arena->all_bytes(), {});
  const auto thread = threads->make_worker().value();
  std::uint64_t sequence = 0;
  std::size_t decoded = 0;
  for (const std::string_view sample : decoder::kWarmUpSamples) {
    const Data data = decoder::from_base64(sample);
    if (!probe(data, {}).ok()) continue;
    ++decoded;
    DecodeJob here = sandbox.job(data);
    const bool frames = here.info.is_sequence();
    here.kind = frames ? DecodeJob::Kind::kFrame : DecodeJob::Kind::kPicture;
    here.sequence = ++sequence;
    here.plan.max_frames = 4;
    DecodeJob there = here;
    there.targets[0].offset = 4096;
    for (std::uint32_t step = 0; step < (frames ? 4 : 1); ++step) {
      const DecodeResult expected = sandbox.run(*thread, here);
      const DecodeResult got = sandbox.run(*worker, there);
      ASSERT_EQ(got.code, expected.code) << format_name(here.info.format) << ": " << got.message;
      EXPECT_EQ(expected.code, Code::kOk) << format_name(here.info.format) << ": " << expected.message;
      EXPECT_EQ(sandbox.row(here), sandbox.row(there)) << format_name(here.info.format);
      EXPECT_EQ(got.step, expected.step);
      EXPECT_EQ(got.time_ms, expected.time_ms);
      EXPECT_EQ(std::memcmp(&got.cursor, &expected.cursor, sizeof got.cursor), 0);
      EXPECT_EQ(std::memcmp(&got.facts, &expected.facts, sizeof got.facts), 0);
      if (expected.code != Code::kOk || expected.step == StepKind::kEnd) break;
      here.cursor = there.cursor = expected.cursor;
    }
  }
  EXPECT_EQ(decoded, decoder::kWarmUpSamples.size());
  RecordProperty("decoded", static_cast<int>(decoded));
  EXPECT_EQ(sandbox.workers->losses().forbidden, 0u);
}

TEST(Sandbox, ASequenceGoesOnAfterItsWorkerIsLost) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  const auto threads = thread_workers(sandbox.arena->all_bytes(), {});
  const auto thread = threads->make_worker().value();
  for (const std::string_view sample : decoder::kWarmUpSamples) {
    const Data data = decoder::from_base64(sample);
    const auto info = probe(data, {});
    if (!info.ok() || !info.value().is_sequence()) continue;
    DecodeJob here = sandbox.job(data);
    here.kind = DecodeJob::Kind::kFrame;
    here.sequence = reinterpret_cast<std::uintptr_t>(sample.data());
    here.plan.max_frames = 4;
    DecodeJob there = here;
    there.targets[0].offset = 4096;
    for (std::uint32_t step = 0; step < 4; ++step) {
      const DecodeResult expected = sandbox.run(*thread, here);
      const DecodeResult got = sandbox.run(*worker, there);
      ASSERT_EQ(got.code, expected.code) << format_name(here.info.format) << ": " << got.message;
      EXPECT_EQ(got.time_ms, expected.time_ms);
      EXPECT_EQ(sandbox.row(here), sandbox.row(there)) << format_name(here.info.format);
      if (expected.code != Code::kOk || expected.step == StepKind::kEnd) break;
      here.cursor = there.cursor = got.cursor;
      EXPECT_TRUE(sandbox.run(*worker, sandbox.job(faulty("crash"), 2)).worker_lost);
    }
  }
}

TEST(Sandbox, SaysWhatAThreadSaysOfBrokenContent) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  const auto thread = thread_workers(sandbox.arena->all_bytes(), {})->make_worker().value();
  Data torn = testing::png(64, 64);
  torn.resize(torn.size() / 2);
  const DecodeJob job = sandbox.job(torn);
  const DecodeResult expected = sandbox.run(*thread, job);
  const DecodeResult got = sandbox.run(*worker, job);
  EXPECT_NE(expected.code, Code::kOk);
  EXPECT_EQ(got.code, expected.code);
  EXPECT_STREQ(got.message, expected.message);
  EXPECT_FALSE(got.worker_lost);
}

TEST(Sandbox, LaysOutTextWithoutAProcess) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  kill(testing::zygote_pid(), SIGKILL);
  DecodeJob job = sandbox.job(jpeg(8, 8));
  job.kind = DecodeJob::Kind::kText;
  job.input.size = 5;
  job.targets[0].length_offset = 8192;
  EXPECT_EQ(sandbox.run(*worker, job).code, Code::kOk);
  std::int32_t length = 0;
  std::memcpy(&length, sandbox.region->bytes().data() + 8192, 4);
  EXPECT_EQ(length, 5);
}

struct Fault {
  const char* what;
  Code code;
  const char* message;
  std::uint64_t WorkerLosses::*counter;
};

class SandboxFault : public ::testing::TestWithParam<Fault> {};

TEST_P(SandboxFault, CostsItsOwnPartAndIsCounted) {
  const Fault& fault = GetParam();
  SandboxOptions options = sandbox_options();
  options.hang_ms = 50;
  options.memory_bytes = 64 << 20;
  Sandbox sandbox(options);
  const auto worker = sandbox.worker();
  const DecodeJob good = sandbox.job(jpeg(64, 48));
  DecodeJob bad = sandbox.job(faulty(fault.what));
  bad.limits.max_cpu_ms = 100;

  EXPECT_EQ(sandbox.run(*worker, good).code, Code::kOk);
  const DecodeResult lost = sandbox.run(*worker, bad);
  EXPECT_EQ(lost.code, fault.code);
  EXPECT_STREQ(lost.message, fault.message);
  EXPECT_TRUE(lost.worker_lost);
  EXPECT_GT(lost.decode_ns, 0);
  EXPECT_EQ(sandbox.run(*worker, good).code, Code::kOk);

  const WorkerLosses losses = sandbox.workers->losses();
  EXPECT_EQ(losses.*fault.counter, 1u);
  EXPECT_EQ(losses.crashed + losses.forbidden + losses.hung + losses.over_cpu + losses.over_memory, 1u);
}

constexpr const char* kForbidden = "the decoder tried something that the sandbox forbids";

INSTANTIATE_TEST_SUITE_P(
    Faults, SandboxFault,
    ::testing::Values(
        Fault{"crash", Code::kInvalidContent, "the decoder crashed (SIGSEGV)", &WorkerLosses::crashed},
        Fault{"abort", Code::kInvalidContent, "the decoder crashed (SIGABRT)", &WorkerLosses::crashed},
        Fault{"stack", Code::kInvalidContent, "the decoder crashed (SIGSEGV)", &WorkerLosses::crashed},
        Fault{"write", Code::kInvalidContent, "the decoder crashed (SIGSEGV)", &WorkerLosses::crashed},
        Fault{"leave", Code::kInvalidContent, "the decoder crashed", &WorkerLosses::crashed},
        Fault{"nonsense", Code::kInvalidContent, "the decoder gave an answer that makes no sense",
              &WorkerLosses::crashed},
        Fault{"hang", Code::kInvalidContent, "the decoder hung", &WorkerLosses::hung},
        Fault{"spin", Code::kTooLarge, "decoding took more than 100 ms of CPU time, the limit (max_cpu_ms)",
              &WorkerLosses::over_cpu},
        Fault{"memory", Code::kTooLarge,
              "decoding needs more memory than the 64 MiB that a decoder may use (decoder_memory_bytes)",
              &WorkerLosses::over_memory},
        Fault{"open", Code::kInvalidContent, kForbidden, &WorkerLosses::forbidden},
        Fault{"socket", Code::kInvalidContent, kForbidden, &WorkerLosses::forbidden},
        Fault{"exec", Code::kInvalidContent, kForbidden, &WorkerLosses::forbidden},
        Fault{"fork", Code::kInvalidContent, kForbidden, &WorkerLosses::forbidden},
        Fault{"code", Code::kInvalidContent, kForbidden, &WorkerLosses::forbidden}),
    [](const auto& instance) { return std::string(instance.param.what); });

TEST(Sandbox, ObeysNoFaultUnlessToldTo) {
  SandboxOptions options = sandbox_options();
  options.faults = false;
  Sandbox sandbox(options);
  const auto worker = sandbox.worker();
  EXPECT_EQ(sandbox.run(*worker, sandbox.job(faulty("crash"))).code, Code::kOk);
}

TEST(Sandbox, CpuTimeOfEarlierFramesCounts) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  DecodeJob job = sandbox.job(jpeg(64, 48));
  job.limits.max_cpu_ms = 1000;
  job.cpu_used_ns = 1001 * kMillisecond;
  const DecodeResult result = sandbox.run(*worker, job);
  EXPECT_EQ(result.code, Code::kTooLarge);
  EXPECT_FALSE(result.worker_lost) << "there was no need to begin";
}

TEST(Sandbox, AWorkerHasNothingButItsSocketAndItsMemory) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  EXPECT_EQ(sandbox.run(*worker, sandbox.job(jpeg(64, 48))).code, Code::kOk);
  const auto processes = children_of(testing::zygote_pid());
  ASSERT_FALSE(processes.empty());
  for (const Process& process : processes) {
    EXPECT_EQ(testing::process_name(process.pid), "fg-worker");
    std::ifstream status("/proc/" + std::to_string(process.pid) + "/status");
    std::map<std::string, std::string> values;
    for (std::string line; std::getline(status, line);) {
      const auto colon = line.find(":\t");
      if (colon != std::string::npos) values[line.substr(0, colon)] = line.substr(colon + 2);
    }
    EXPECT_EQ(values["Seccomp"], "2");
    EXPECT_EQ(values["NoNewPrivs"], "1");
    EXPECT_EQ(values["CapEff"], "0000000000000000");
    EXPECT_EQ(values["CapPrm"], "0000000000000000");
    const std::filesystem::path descriptors = "/proc/" + std::to_string(process.pid) + "/fd";
    std::error_code denied;
    const std::filesystem::directory_iterator all(descriptors, denied);
    if (!denied) {
      EXPECT_EQ(std::distance(begin(all), end(all)), 1);
    }
  }
}

TEST(Sandbox, RegionsAreMappedOnceAndLetGoOfWhenNobodyHoldsThem) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  const DecodeJob job = sandbox.job(jpeg(64, 48));
  std::shared_ptr<SharedRegion> retired = testing::make_region();
  EXPECT_EQ(worker->run(job, {&retired, 1}).code, Code::kOk);
  EXPECT_EQ(worker->run(job, {&retired, 1}).code, Code::kOk);
  EXPECT_EQ(sandbox.run(*worker, job).code, Code::kOk);
  const auto mapped = [&](const std::string& key) {
    int count = 0;
    for (const Process& process : children_of(testing::zygote_pid())) {
      count += testing::mappings_of(process.pid, key);
    }
    return count;
  };
  const std::string key = retired->key();
  EXPECT_EQ(mapped(key), 1);
  retired.reset();
  worker->idle();
  // Orders are kept in order: once a job has come back, what was said before it is done.
  EXPECT_EQ(sandbox.run(*worker, job).code, Code::kOk);
  EXPECT_EQ(mapped(key), 0);
  EXPECT_EQ(mapped(sandbox.region->key()), 1);
}

TEST(Sandbox, ServesMoreRegionsThanAWorkerHoldsAtOnce) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  const DecodeJob job = sandbox.job(jpeg(64, 48));
  EXPECT_EQ(sandbox.run(*worker, job).code, Code::kOk);
  std::vector<std::shared_ptr<SharedRegion>> regions;
  for (std::uint32_t i = 0; i < 2 * sandbox::kMaxRegions; ++i) {
    regions.push_back(testing::make_region(8192));
    EXPECT_EQ(worker->run(job, {&regions.back(), 1}).code, Code::kOk);
    EXPECT_TRUE(
        std::ranges::equal(regions.back()->bytes().subspan(0, job.targets[0].bytes), sandbox.row(job)));
  }
  EXPECT_EQ(worker->run(job, {&regions.front(), 1}).code, Code::kOk);
}

TEST(Sandbox, LeavesNothingBehind) {
  const std::size_t descriptors = testing::open_descriptors();
  const std::size_t children = children_of(getpid()).size();
  std::vector<Process> workers;
  {
    Sandbox sandbox;
    const auto one = sandbox.worker();
    const auto other = sandbox.worker();
    EXPECT_EQ(sandbox.run(*one, sandbox.job(faulty("crash"))).code, Code::kInvalidContent);
    EXPECT_EQ(sandbox.run(*other, sandbox.job(jpeg(64, 48))).code, Code::kOk);
    workers = children_of(testing::zygote_pid());
    EXPECT_FALSE(workers.empty());
  }
  EXPECT_EQ(testing::open_descriptors(), descriptors);
  EXPECT_EQ(children_of(getpid()).size(), children);
  for (const Process& worker : workers) EXPECT_NE(kill(worker.pid, 0), 0);
}

TEST(Sandbox, WorkersDieWithTheServerEvenWhileTheyDecode) {
  int said[2];
  ASSERT_EQ(pipe(said), 0);
  const auto sweep = [](pid_t process) {
    const std::string left = "floodgate-test-" + std::to_string(process) + "-";
    return sweep_stale_regions([&](std::string_view name) { return name.starts_with(left); });
  };
  const pid_t server = fork();
  if (server == 0) {
    (void)sweep(getpid());  // what an earlier process of the same number has left
    Sandbox sandbox;
    const auto worker = sandbox.worker();
    const int zygote = testing::zygote_pid();
    bool told = write(said[1], &zygote, sizeof zygote) == sizeof zygote;
    DecodeJob spinning = sandbox.job(faulty("spin"));
    spinning.limits.max_cpu_ms = 600'000;
    told = told && sandbox.run(*worker, spinning).code == Code::kOk;
    _exit(told ? 0 : 1);
  }
  int zygote = 0;
  ASSERT_EQ(read(said[0], &zygote, sizeof zygote), static_cast<ssize_t>(sizeof zygote));
  // The spinning worker is the one whose processor time grows.
  std::vector<Process> workers;
  while (std::ranges::none_of(workers, [](const Process& each) { return each.state == 'R'; })) {
    workers = children_of(zygote);
    sched_yield();
  }
  std::vector<Descriptor> watched;
  for (const Process& worker : workers) watched.push_back(sandbox::open_pidfd(worker.pid));
  kill(server, SIGKILL);
  waitpid(server, nullptr, 0);
  for (const Descriptor& worker : watched) {
    if (!worker.held()) continue;
    pollfd ended{worker.get(), POLLIN, 0};
    EXPECT_EQ(poll(&ended, 1, 20'000), 1) << "a worker outlived its server";
  }
  // The killed server could not unlink its region: the next one does.
  EXPECT_EQ(sweep(server), 1U);
  close(said[0]);
  close(said[1]);
}

TEST(Sandbox, RefusesAProgramThatIsNotThereAndOneThatIsNotTheDecoder) {
  SandboxOptions options = sandbox_options();
  const auto arena = Arena::create(4096).value();
  options.arena_fd = arena->fd();
  options.arena_bytes = 4096;
  options.program = "/nowhere/floodgate-decoder";
  EXPECT_EQ(sandboxed_workers(options).status().code(), Code::kInvalidArgument);
  options.program = "/bin/true";
  EXPECT_EQ(sandboxed_workers(options).status().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace floodgate
