#include <map>
#include <random>

#include "../../cpp/decoder/warm_up_samples.h"
#include "floodgate/scheduler.h"
#include "sandbox_harness.h"
#include "scheduler_harness.h"
#include "worker/result_check.h"

namespace floodgate {
namespace {

using testing::children_of;
using testing::Data;
using testing::faulty;
using testing::jpeg;
using testing::Sandbox;

struct Outcome {
  int good = 0;
  std::map<std::string, int> lost;
};

// Feeds `stream` through the scheduler and answers every batch.
Outcome moderate(Scheduler& scheduler, const std::vector<const Data*>& stream) {
  constexpr std::size_t kOpen = 64;
  static std::uint64_t ticket = 0;
  Outcome outcome;
  std::size_t next = 0;
  std::size_t open = 0;
  while (next < stream.size() || open > 0) {
    for (; next < stream.size() && open < kOpen; ++next, ++open) {
      Submission submission;
      submission.ticket = ++ticket;
      submission.ensembles = {"image@test"};
      submission.data = *stream[next];
      const Status submitted = scheduler.submit(submission);
      EXPECT_TRUE(submitted.ok()) << submitted.message();
    }
    pollfd fd{scheduler.fd(), POLLIN, 0};
    if (::poll(&fd, 1, 60'000) != 1) {
      ADD_FAILURE() << "nothing came for a minute";
      break;
    }
    for (const Batch& batch : scheduler.take_batches()) {
      const std::vector<float> id(4 * batch.rows);
      const std::vector<float> sum(batch.rows);
      const std::vector<OutputValues> outputs = {{"id__words", id}, {"sum__total", sum}};
      EXPECT_TRUE(scheduler.complete(batch.batch_id, outputs, {}).ok());
    }
    for (const Done& done : scheduler.poll_done()) {
      --open;
      if (done.code == Code::kOk) {
        ++outcome.good;
      } else {
        ++outcome.lost[done.message];
      }
    }
  }
  return outcome;
}

TEST(DecodeRunner, ASequenceIsLetGoAfterItsLastFrame) {
  Sandbox sandbox;
  const auto threads = thread_workers(sandbox.arena->all_bytes(), {});
  std::size_t over = 0;
  for (const std::string_view sample : decoder::kWarmUpSamples) {
    const Data data = decoder::from_base64(sample);
    const auto info = probe(data, {});
    if (!info.ok() || !info.value().is_sequence()) continue;
    const auto worker = threads->make_worker().value();
    DecodeJob job = sandbox.job(data);
    job.kind = DecodeJob::Kind::kFrame;
    job.sequence = 1;
    job.plan.max_frames = 2;
    DecodeResult result;
    do {
      result = sandbox.run(*worker, job);
      ASSERT_EQ(result.code, Code::kOk) << result.message;
      job.cursor = result.cursor;
    } while (result.step != StepKind::kEnd && result.cursor.next < result.facts.planned);
    // Whoever still had it open would not read these bytes again.
    std::ranges::fill(sandbox.arena->bytes(job.input), std::uint8_t{0});
    EXPECT_NE(sandbox.run(*worker, job).code, Code::kOk) << format_name(job.info.format);
    ++over;
  }
  EXPECT_GT(over, 0U);
}

TEST(SandboxStream, AThousandCrashesAndAHundredHangsCostThemselvesAndNothingElse) {
  constexpr int kGood = 2'000;
  constexpr int kCrashes = 1'000;
  constexpr int kHangs = 100;
  constexpr std::uint32_t kWorkers = 4;
  SchedulerOptions options;
  options.decode_workers = kWorkers;
  options.arena_bytes = 16 << 20;
  options.sandbox = testing::sandbox_options();
  options.sandbox->hang_ms = 100;
  auto scheduler = Scheduler::create(std::move(options)).value();
  ASSERT_TRUE(scheduler->configure(1, {testing::image_ensemble()}).ok());

  const Data good = jpeg(64, 48);
  const Data crash = faulty("crash");
  const Data hang = faulty("hang");
  EXPECT_EQ(moderate(*scheduler, {&good, &crash, &good}).good, 2);
  const std::size_t descriptors = testing::open_descriptors();

  std::vector<const Data*> stream(kGood, &good);
  stream.insert(stream.end(), kCrashes, &crash);
  stream.insert(stream.end(), kHangs, &hang);
  std::shuffle(stream.begin(), stream.end(), std::mt19937(7));  // NOLINT: the same order every time
  const Outcome outcome = moderate(*scheduler, stream);

  EXPECT_EQ(outcome.good, kGood);
  const std::map<std::string, int> wanted = {{"the decoder crashed (SIGSEGV)", kCrashes},
                                             {"the decoder hung", kHangs}};
  EXPECT_EQ(outcome.lost, wanted);
  const Stats stats = scheduler->stats();
  EXPECT_TRUE(stats.sandboxed);
  EXPECT_EQ(stats.worker_losses.crashed, kCrashes + 1u);
  EXPECT_EQ(stats.worker_losses.hung, static_cast<std::uint64_t>(kHangs));
  EXPECT_EQ(stats.arena_used_bytes, 0u);
  EXPECT_EQ(stats.ensembles.at(0).decoding_rows + stats.ensembles.at(0).ready_rows, 0u);
  // A worker that was just lost is replaced with its next job, so there may be two descriptors fewer each.
  EXPECT_LE(testing::open_descriptors(), descriptors + 2 * kWorkers);
  const auto workers = children_of(testing::zygote_pid());
  EXPECT_LE(workers.size(), kWorkers + 1u) << "one is forked ahead";
  for (const auto& worker : workers) EXPECT_NE(worker.state, 'Z');
}

// ---- what a worker answers is not believed

DecodeJob frame_job() {
  DecodeJob job;
  job.kind = DecodeJob::Kind::kFrame;
  job.plan.max_frames = 8;
  job.cursor.next = 3;
  return job;
}

DecodeResult frame_result() {
  DecodeResult result;
  result.cursor.next = 4;
  result.facts.planned = 8;
  return result;
}

TEST(ResultCheck, AnHonestAnswerStaysAsItIs) {
  DecodeResult result = frame_result();
  result.time_ms = 1234;
  std::strcpy(result.facts.codec, "h264");
  ASSERT_TRUE(sandbox::make_safe(frame_job(), result));
  EXPECT_EQ(result.time_ms, 1234);
  EXPECT_EQ(result.cursor.next, 4u);
  EXPECT_STREQ(result.facts.codec, "h264");
}

TEST(ResultCheck, ASequenceMustMoveOn) {
  DecodeResult result = frame_result();
  result.cursor.next = 3;
  EXPECT_FALSE(sandbox::make_safe(frame_job(), result));
  result.step = StepKind::kEnd;
  EXPECT_TRUE(sandbox::make_safe(frame_job(), result));
}

TEST(ResultCheck, EnumsMustBeKnown) {
  DecodeResult result = frame_result();
  result.step = static_cast<StepKind>(0);
  EXPECT_FALSE(sandbox::make_safe(frame_job(), result));
  for (const Code code :
       {Code::kCancelled, Code::kUnavailable, Code::kDeadlineExceeded, static_cast<Code>(99)}) {
    result = frame_result();
    result.code = code;
    result.message[0] = 'x';
    EXPECT_FALSE(sandbox::make_safe(frame_job(), result));
  }
}

TEST(ResultCheck, TextsEndAndArePrintable) {
  DecodeResult result = frame_result();
  result.code = Code::kInvalidContent;
  EXPECT_FALSE(sandbox::make_safe(frame_job(), result)) << "a failure has a reason";
  std::memset(result.message, '\n', sizeof result.message);
  std::memset(result.facts.codec, 'c', sizeof result.facts.codec);
  ASSERT_TRUE(sandbox::make_safe(frame_job(), result));
  EXPECT_EQ(std::string(result.message), std::string(kMaxFailureText - 1, '?'));
  EXPECT_EQ(std::string(result.facts.codec), std::string(sizeof result.facts.codec - 1, 'c'));
}

TEST(ResultCheck, NumbersAreClampedToWhatTheJobAllows) {
  DecodeResult result = frame_result();
  result.worker_lost = true;
  result.time_ms = -5;
  result.facts.planned = 4'000'000;
  result.facts.duration_ms = INT64_MIN;
  result.facts.notes = UINT32_MAX;
  result.cursor.next = UINT32_MAX;
  ASSERT_TRUE(sandbox::make_safe(frame_job(), result));
  EXPECT_FALSE(result.worker_lost);
  EXPECT_EQ(result.time_ms, 0);
  EXPECT_EQ(result.facts.planned, 8u);
  EXPECT_EQ(result.facts.duration_ms, 0);
  EXPECT_EQ(describe_notes(result.facts.notes).find("?"), std::string::npos);
  EXPECT_LT(result.facts.notes, UINT32_MAX);
  EXPECT_EQ(result.cursor.next, kMaxPlannedFrames);
}

TEST(ResultCheck, APictureHasNoCursor) {
  DecodeResult result = frame_result();
  ASSERT_TRUE(sandbox::make_safe(DecodeJob{}, result));
  EXPECT_EQ(result.cursor.next, 0u);
  EXPECT_EQ(result.facts.planned, 0u);
}

}  // namespace
}  // namespace floodgate
