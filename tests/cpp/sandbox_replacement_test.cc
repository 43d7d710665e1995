// What takes a lost worker's or zygote's place.
#include <poll.h>
#include <sched.h>
#include <signal.h>

#include "sandbox_harness.h"
#include "worker/pidfd.h"

namespace floodgate {
namespace {

using testing::children_of;
using testing::faulty;
using testing::jpeg;
using testing::Process;
using testing::Sandbox;

TEST(SandboxReplacement, AJobOutlivesTheDeathOfTheZygote) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  const DecodeJob job = sandbox.job(jpeg(64, 48));
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(sandbox.run(*worker, job).code, Code::kOk);
    const Descriptor zygote = sandbox::open_pidfd(testing::zygote_pid());
    ASSERT_TRUE(sandbox::signal_pidfd(zygote, SIGKILL));
    pollfd ended{zygote.get(), POLLIN, 0};
    ASSERT_EQ(poll(&ended, 1, 10'000), 1);
    const DecodeResult result = sandbox.run(*worker, job);
    EXPECT_EQ(result.code, Code::kOk) << result.message;
  }
  EXPECT_EQ(sandbox.workers->losses().crashed, 0u);
}

TEST(SandboxReplacement, AWorkerThatTakesAnothersPlaceIsHeldToNoProcessor) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  const DecodeJob good = sandbox.job(jpeg(64, 48));
  const DecodeJob bad = sandbox.job(faulty("crash"));
  EXPECT_TRUE(sandbox.run(*worker, bad).worker_lost);
  EXPECT_EQ(sandbox.run(*worker, good).code, Code::kOk);
  cpu_set_t ours;
  ASSERT_EQ(sched_getaffinity(0, sizeof ours, &ours), 0);
  const auto processes = children_of(testing::zygote_pid());
  ASSERT_FALSE(processes.empty());
  for (const Process& process : processes) {
    cpu_set_t theirs;
    ASSERT_EQ(sched_getaffinity(process.pid, sizeof theirs, &theirs), 0);
    EXPECT_TRUE(CPU_EQUAL(&theirs, &ours));
  }
}

TEST(SandboxReplacement, AJobIsTriedAgainWhenWorkersAreKilledFromOutside) {
  Sandbox sandbox;
  const auto worker = sandbox.worker();
  const DecodeJob job = sandbox.job(jpeg(64, 48));
  for (const Process& process : children_of(testing::zygote_pid())) kill(process.pid, SIGKILL);
  EXPECT_EQ(sandbox.run(*worker, job).code, Code::kOk);
  EXPECT_EQ(sandbox.workers->losses().crashed, 0u);
}

}  // namespace
}  // namespace floodgate
