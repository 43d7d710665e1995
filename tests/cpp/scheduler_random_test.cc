// A seeded, many-threaded life of the scheduler: everything that can happen to a ticket or a batch happens,
// in any order, and the books must balance at the end.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "scheduler_harness.h"

namespace floodgate {
namespace {

using testing::infer;

constexpr std::uint64_t kTextTicket = 1ULL << 40;

struct Life {
  explicit Life(std::uint32_t chosen_seed) : seed(chosen_seed) {
    SchedulerOptions options;
    options.decode_workers = 3;
    options.arena_bytes = 1 << 16;
    options.max_queue_rows = 200;
    options.quarantine_cap = 2;
    options.probe = testing::probe_picture;
    options.decode = testing::decode_picture();
    scheduler = std::move(Scheduler::create(std::move(options))).value();
    configure(1);
  }

  void configure(std::uint64_t generation) {
    const Status status = scheduler->configure(
        generation,
        {testing::image_ensemble("a"), testing::image_ensemble("b"), testing::text_ensemble("t")});
    EXPECT_TRUE(status.ok()) << status.message();
  }

  const std::uint32_t seed;
  std::unique_ptr<Scheduler> scheduler;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> answered{0};
  std::mutex mu;
  std::set<std::uint64_t> open;  // guarded by mu: accepted or being submitted, not answered
};

std::string text_of(std::uint64_t id) {
  std::string text;
  for (std::uint64_t i = 0; i <= id % 6; ++i) text += "w" + std::to_string(id) + " ";
  return text;
}

void submit_many(Life& life, std::uint32_t thread, int steps) {
  std::mt19937 random(life.seed * 31 + thread);
  for (int step = 0; step < steps; ++step) {
    const bool text = random() % 4 == 0;
    const std::uint64_t id = (text ? kTextTicket : 0) + std::uint64_t{thread} * 10'000'000 + step;
    const auto picture = testing::picture(id, random() % 10 == 0 ? testing::kBroken : 'P', random() % 200);
    const std::string words = text_of(id);
    Submission submission;
    submission.ticket = id;
    submission.lane = static_cast<Lane>(1 + random() % 3);
    submission.deadline_ns =
        random() % 3 == 0 ? kNever : monotonic_now() + static_cast<Nanos>(random() % 20) * kMillisecond;
    if (text) {
      submission.modality = Modality::kText;
      submission.ensembles = {"t"};
      submission.data = {reinterpret_cast<const std::uint8_t*>(words.data()), words.size()};
    } else {
      submission.ensembles = random() % 3 == 0   ? std::vector<std::string>{"a"}
                             : random() % 2 == 0 ? std::vector<std::string>{"b"}
                                                 : std::vector<std::string>{"a", "b"};
      submission.data = picture;
    }
    {
      const std::lock_guard lock(life.mu);
      life.open.insert(id);
    }
    Status status = life.scheduler->submit(submission);
    while (status.code() == Code::kOverloaded) {
      std::this_thread::yield();
      status = life.scheduler->submit(submission);
    }
    if (status.ok()) {
      ++life.accepted;
      if (random() % 8 == 0) life.scheduler->cancel(id);
      continue;
    }
    ASSERT_TRUE(status.code() == Code::kUnavailable || status.code() == Code::kDeadlineExceeded)
        << status.message();
    const std::lock_guard lock(life.mu);
    ASSERT_EQ(life.open.erase(id), 1u) << "refused and answered";
  }
}

void check_answer(Life& life, const Done& done) {
  {
    const std::lock_guard lock(life.mu);
    ASSERT_EQ(life.open.erase(done.ticket), 1u) << "answered twice, or never asked: " << done.ticket;
  }
  ++life.answered;
  if (done.code == Code::kOk) {
    ASSERT_FALSE(done.rows.empty());
  }
  const std::string words = text_of(done.ticket);
  std::uint32_t next = 0;
  for (const DoneRow& row : done.rows) {
    for (const RowScores& scores : row.scores) {
      const auto total = scores.output(scores.config->outputs.size() - 1);
      if (done.ticket < kTextTicket) {
        if (scores.output(0)) {
          ASSERT_EQ(testing::id_of(scores), done.ticket) << "someone else's scores";
        }
      } else if (total) {
        float expected = 0;
        for (std::uint32_t i = row.span.start; i < row.span.end; ++i)
          expected += static_cast<float>(words[i]);
        ASSERT_EQ((*total)[0], expected) << "someone else's row";
      }
    }
    if (done.ticket >= kTextTicket) {
      ASSERT_EQ(row.span.start, next);
      next = row.span.end;
    }
  }
  if (done.ticket >= kTextTicket && !done.rows.empty()) {
    ASSERT_EQ(next, words.size());
  }
}

// The inference server and its client: answers late, wrongly, never, or dies.
void serve(Life& life) {
  struct Sent {
    Batch batch;
    testing::Answers read;
    bool quarantined = false;
  };
  std::mt19937 random(life.seed);
  std::vector<Sent> sent;
  const auto answer = [&](Sent& each) {
    testing::Answers now = infer(each.batch);
    ASSERT_EQ(now.ids, each.read.ids) << "memory in flight was overwritten";
    ASSERT_EQ(now.texts, each.read.texts);
    const auto outputs = now.outputs();
    ASSERT_TRUE(life.scheduler->complete(each.batch.batch_id, outputs, {}).ok());
    ASSERT_FALSE(life.scheduler->complete(each.batch.batch_id, outputs, {}).ok());
  };
  bool finishing = false;
  while (!finishing || !sent.empty()) {
    finishing = life.stop.load();
    for (Batch& batch : life.scheduler->take_batches()) {
      sent.push_back({batch, infer(batch), false});
    }
    for (const Done& done : life.scheduler->poll_done()) check_answer(life, done);
    if (sent.empty()) {
      pollfd fd{life.scheduler->fd(), POLLIN, 0};
      ::poll(&fd, 1, 1);
      continue;
    }
    const std::size_t at = random() % sent.size();
    switch (finishing ? 0 : random() % 40) {
      case 1:
        if (!sent[at].quarantined) {
          ASSERT_TRUE(life.scheduler->quarantine(sent[at].batch.batch_id).ok());
        }
        sent[at].quarantined = true;
        break;
      case 2:
        ASSERT_TRUE(life.scheduler->fail_batch(sent[at].batch.batch_id, Code::kInternal, "no").ok());
        sent.erase(sent.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      case 3:
        if (random() % 8 == 0) {
          // Batches closed but not taken stay; those sent are over.
          ASSERT_TRUE(life.scheduler->region_lost().ok());
          for (const Sent& each : sent)
            ASSERT_FALSE(life.scheduler->complete(each.batch.batch_id, {}, {}).ok());
          sent.clear();
        }
        break;
      case 4:
        ASSERT_FALSE(life.scheduler->fail_batch(1ULL << 60, Code::kInternal, "unknown").ok());
        break;
      default:
        answer(sent[at]);
        sent.erase(sent.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
}

class SchedulerRandom : public ::testing::TestWithParam<std::uint32_t> {};

TEST_P(SchedulerRandom, TheBooksBalance) {
  Life life(GetParam());
  constexpr int kSteps = 6000;
  std::thread server([&] { serve(life); });
  std::vector<std::thread> submitters;
  for (std::uint32_t thread = 1; thread <= 2; ++thread) {
    submitters.emplace_back([&, thread] { submit_many(life, thread, kSteps); });
  }
  for (std::uint64_t generation = 2; generation <= 4; ++generation) {
    while (life.answered < generation * 100) std::this_thread::yield();
    life.configure(generation);
  }
  for (std::thread& submitter : submitters) submitter.join();
  life.scheduler->drain();
  while (life.answered < life.accepted) std::this_thread::yield();
  life.stop = true;
  server.join();

  EXPECT_TRUE(life.open.empty());
  const auto settled = [&] {
    const Stats stats = life.scheduler->stats();
    return stats.ensembles.size() == 3 && stats.ensembles[0].decoding_rows == 0 &&
           stats.ensembles[1].decoding_rows == 0 && stats.ensembles[2].decoding_rows == 0;
  };
  while (!settled()) std::this_thread::yield();
  const Stats stats = life.scheduler->stats();
  EXPECT_TRUE(stats.drained);
  EXPECT_EQ(stats.counters.tickets, life.accepted);
  EXPECT_EQ(stats.counters.done, life.accepted);
  EXPECT_EQ(stats.arena_used_bytes, 0u);
  EXPECT_GT(stats.counters.batches_quarantined, 0u);
  EXPECT_GT(stats.counters.decode_failures, 0u);
  for (const EnsembleStats& each : stats.ensembles) {
    EXPECT_EQ(each.generation, 4u);
    EXPECT_EQ(each.ready_rows, 0u);
    EXPECT_EQ(each.buffers[0], each.ensemble == "t" ? 3u : 4u) << each.ensemble;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, SchedulerRandom, ::testing::Values(1, 2, 3));

}  // namespace
}  // namespace floodgate
