// One life of a scheduler that many threads do everything to: what they share, and what must be true of every
// answer and whenever all is quiet.
//
// A life is made from a seed, which chooses its sizes. It goes in rounds of so many steps, a step being one
// call by anybody; between rounds nothing is open and everything must be back where it belongs. Thread rule:
// every member but settle() may be called from any thread.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fuzzed_acceptor.h"
#include "scheduler_harness.h"
#include "scripted_worker.h"

namespace floodgate::testing {

inline constexpr std::uint64_t kTextTicket = 1ULL << 40;
inline constexpr std::uint64_t kForeignTicket = 1ULL << 39;  // its bytes lie in another process's arena

// The words of a text ticket.
inline std::string text_of(std::uint64_t id) {
  std::string text;
  for (std::uint64_t i = 0; i <= id % 6; ++i) text += "w" + std::to_string(id) + " ";
  return text;
}

class Life {
 public:
  explicit Life(std::uint64_t seed) : random_(seed) {
    SchedulerOptions options;
    options.decode_workers = 1 + random_() % 4;
    options.arena_bytes = std::uint64_t{1} << (14 + random_() % 4);
    options.max_queue_rows = 60 + random_() % 300;
    options.quarantine_cap = 1 + random_() % 3;
    options.live_reserve = random_() % 2 == 0 ? 0.1 : 0.0;
    options.media_limits.max_bytes = 4096;
    options.max_text_bytes = 512;
    options.initial_model = {.fixed_ns = 2e5, .per_row_ns = 5e4};
    options.probe = probe_picture;
    options.foreign_arenas = {SharedRegion::anonymous(std::uint64_t{1} << (12 + random_() % 4)).value()};
    acceptor = std::make_shared<FuzzedAcceptor>(options.foreign_arenas[0],
                                                [this](const Done& done) { check(done); });
    options.workers = [gates = Gates{nullptr, nullptr, &hung}](std::span<const std::uint8_t> arena) {
      return std::make_unique<ScriptedWorkers>(arena, gates);
    };
    scheduler = std::move(Scheduler::create(std::move(options))).value();
    configure();
  }
  ~Life() { hung.open(); }
  Life(const Life&) = delete;
  Life& operator=(const Life&) = delete;

  // Serves a new generation; another thread may have been faster with it.
  void configure() {
    const std::uint64_t number = ++generation_;
    std::vector<EnsembleConfig> ensembles = {image_ensemble("a"), image_ensemble("b"), text_ensemble("t")};
    for (EnsembleConfig& each : ensembles) {
      each.max_batch = 1 + static_cast<std::uint32_t>((number * 7 + each.name[0]) % 6);
      each.credit = 1 + static_cast<std::uint32_t>((number + each.name[0]) % 2);
      each.buffers = each.credit + 1 + static_cast<std::uint32_t>(number % 3);
    }
    const Status status = scheduler->configure(number, std::move(ensembles));
    EXPECT_TRUE(status.ok() || status.code() == Code::kInvalidArgument || draining) << status.message();
  }

  // Whether there is a step left in this round, and takes it.
  bool step() { return steps_left.fetch_sub(1) > 0; }

  void audit() const {
    const Status books = scheduler->audit();
    ASSERT_TRUE(books.ok()) << books.message();
  }

  // Before a submission, and after one that was refused.
  void expect_answer(std::uint64_t ticket) {
    const std::lock_guard lock(mu_);
    ++open_[ticket];
    ++open_count;
  }
  void expect_no_answer(std::uint64_t ticket) {
    ASSERT_TRUE(forget(ticket)) << "refused and answered: " << ticket;
  }
  void check(const Done& done) {
    ASSERT_TRUE(forget(done.ticket)) << "answered twice, or never asked: " << done.ticket;
    ++answered;
    done.ticket < kTextTicket ? check_pixels(done) : check_text(done);
  }

  // After a round: nothing is open, nobody else uses the scheduler. Older generations must go, and every
  // buffer, slot, row and byte be back.
  void settle() {
    EXPECT_EQ(open_count, 0);
    const std::uint64_t newest = generation_;
    if (!draining) configure();
    const Nanos end = monotonic_now() + 60 * kSecond;
    const auto quiet = [&] {
      EXPECT_TRUE(scheduler->take_batches().empty()) << "a batch without a live row";
      const Stats stats = scheduler->stats();
      return stats.ensembles.size() == 3 && (draining || stats.ensembles[0].generation > newest);
    };
    while (!quiet() && monotonic_now() < end) std::this_thread::yield();
    EXPECT_TRUE(quiet()) << "something still holds an old generation";
    EXPECT_TRUE(scheduler->poll_done().empty());
    EXPECT_TRUE(acceptor->empty()) << "not every ticket was answered and released";
    audit();
    const Stats stats = scheduler->stats();
    EXPECT_EQ(stats.drained, draining.load());
    EXPECT_EQ(stats.counters.tickets, accepted);
    EXPECT_EQ(stats.counters.done, answered);
    EXPECT_EQ(stats.open_tickets, 0u);
    EXPECT_EQ(stats.arena_used_bytes, 0u);
    EXPECT_EQ(stats.waiting_decode_ns, 0u);
    for (const std::uint64_t rows : stats.queued_rows) EXPECT_EQ(rows, 0u);
    for (const EnsembleStats& each : stats.ensembles) {
      EXPECT_EQ(each.ready_rows + each.decoding_rows + each.waiting_rows, 0u) << each.ensemble;
      for (std::size_t state = 1; state < kBufferStates; ++state) {
        EXPECT_EQ(each.buffers[state], 0u) << each.ensemble << " buffers in state " << state;
      }
    }
  }

  std::shared_ptr<FuzzedAcceptor> acceptor;
  std::unique_ptr<Scheduler> scheduler;
  Gate hung;  // what hangs is ended by let_through()
  std::atomic<std::int64_t> steps_left{0};
  std::atomic<int> callers{0};
  std::atomic<bool> draining{false};
  std::atomic<int> open_count{0};
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> answered{0};

 private:
  bool forget(std::uint64_t ticket) {
    const std::lock_guard lock(mu_);
    const auto found = open_.find(ticket);
    if (found == open_.end()) return false;
    if (--found->second == 0) open_.erase(found);
    --open_count;
    return true;
  }

  static void check_pixels(const Done& done) {
    if (done.code == Code::kOk) {
      ASSERT_FALSE(done.rows.empty());
    }
    for (const DoneRow& row : done.rows) {
      for (const RowScores& scores : row.scores) {
        if (scores.output(0)) {
          ASSERT_EQ(id_of(scores), done.ticket) << "someone else's scores";
        }
      }
    }
  }

  static void check_text(const Done& done) {
    const std::string words = text_of(done.ticket);
    std::uint32_t next = 0;
    for (const DoneRow& row : done.rows) {
      ASSERT_EQ(row.span.start, next);
      next = row.span.end;
      float expected = 0;
      for (std::uint32_t i = row.span.start; i < row.span.end; ++i) expected += static_cast<float>(words[i]);
      for (const RowScores& scores : row.scores) {
        if (const auto total = scores.output(0)) {
          ASSERT_EQ((*total)[0], expected) << "someone else's row";
        }
      }
    }
    if (!done.rows.empty()) {
      ASSERT_EQ(next, words.size());
    }
  }

  std::mt19937_64 random_;
  std::atomic<std::uint64_t> generation_{0};
  std::mutex mu_;
  std::map<std::uint64_t, int> open_;  // guarded by mu_: tickets that were accepted or are being submitted
};

// Regions of this process that still have a name.
inline std::size_t named_regions() {
  const std::string prefix = "floodgate-" + std::to_string(getpid()) + "-";
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/dev/shm")) {
    count += entry.path().filename().string().starts_with(prefix) ? 1 : 0;
  }
  return count;
}

}  // namespace floodgate::testing
