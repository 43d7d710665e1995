// Seeded, many-threaded lives of the scheduler: everything that can happen to a ticket, a batch, a worker or
// the inference server happens, in any order, and the books must balance whenever all is quiet.
//
// FLOODGATE_FUZZ_STEPS says how many steps (`make fuzz-scheduler STEPS=1000000`), FLOODGATE_FUZZ_SEED where
// to begin.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "fuzzed_life.h"
#include "fuzzed_server.h"

namespace floodgate {
namespace {

using testing::FuzzedServer;
using testing::Life;

constexpr std::uint64_t kGateSteps = 40'000;
constexpr std::int64_t kRoundSteps = 4'000;
constexpr int kRounds = 5;  // of a life
constexpr std::uint32_t kCallers = 3;

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Submits, withdraws, reconfigures, and ends what hangs.
class Caller {
 public:
  Caller(Life& life, std::uint32_t number, std::uint64_t seed)
      : life_(life), random_(seed * 31 + number), next_(number * 10'000'000) {}

  void run() {
    while (life_.step()) {
      act();
      if (::testing::Test::HasFatalFailure()) break;
      if (random_() % 1024 == 0) patience_ = 1 << random_() % 9;
      while (life_.open_count > patience_ && life_.steps_left > 0 && !::testing::Test::HasFatalFailure()) {
        life_.hung.let_through();
        std::this_thread::yield();
      }
    }
    --life_.callers;
  }

 private:
  void act() {
    switch (random_() % 256) {
      case 0:
        return life_.configure();
      case 1:
      case 2:
        return life_.audit();
      case 3:
        EXPECT_GE(life_.scheduler->stats().counters.tickets, life_.scheduler->stats().counters.done);
        return;
      case 4:
      case 5:
        return life_.hung.let_through();
      default:
        break;
    }
    switch (random_() % 16) {
      case 0:
      case 1:
      case 2:
        (void)life_.scheduler->cancel(recent());
        return;
      case 3:
        return submit_text();
      case 4:
        return submit_text();
      case 5:
        return submit_spoiled();
      case 6:
      case 7:
        return submit_video();
      default:
        return submit_picture();
    }
  }

  std::uint64_t recent() {
    return next_ - random_() % 24 + (random_() % 4 == 0 ? testing::kTextTicket : 0) +
           (random_() % 4 == 0 ? testing::kForeignTicket : 0);
  }

  // A new ticket, or now and then one that may still be open.
  std::uint64_t ticket(std::uint64_t kind = 0) {
    if (random_() % 64 == 0) return kind + next_;
    return kind + ++next_ + (random_() % 4 == 0 ? testing::kForeignTicket : 0);
  }

  Submission submission() {
    Submission made;
    made.lane = static_cast<Lane>(1 + random_() % 3);
    switch (random_() % 8) {
      case 0:
      case 1:
        break;
      case 2:
        made.deadline_ns = monotonic_now() + 5 * kSecond;
        break;
      case 3:
        made.deadline_ns = monotonic_now() - static_cast<Nanos>(random_() % 2) * kMillisecond;
        break;
      default:
        made.deadline_ns = monotonic_now() + static_cast<Nanos>(random_() % 20'000) * kMicrosecond;
    }
    switch (random_() % 3) {
      case 0:
        made.ensembles = {"a"};
        break;
      case 1:
        made.ensembles = {"b"};
        break;
      default:
        made.ensembles = {"a", "b"};
    }
    return made;
  }

  void submit_picture() {
    constexpr std::string_view kKinds = "PPPPPPPPPPPPPPPPPPPPPPPPPPBBBCCH";
    Submission made = submission();
    made.ticket = ticket();
    const auto data = testing::picture(made.ticket, kKinds[random_() % kKinds.size()], random_() % 200);
    made.data = data;
    submit(made);
  }

  void submit_video() {
    constexpr std::string_view kSteps = "ffffffffffffffffffffffffffffsssssssssssssssssssxcch";
    Submission made = submission();
    made.ticket = ticket();
    auto data = testing::picture(made.ticket, testing::kVideo, random_() % 24);
    for (std::size_t i = 9; i < data.size(); ++i) {
      data[i] = static_cast<std::uint8_t>(kSteps[random_() % kSteps.size()]);
    }
    made.data = data;
    made.plan.max_frames = 1 + random_() % 20;
    submit(made);
  }

  void submit_text() {
    Submission made = submission();
    made.ticket = ticket(testing::kTextTicket);
    made.modality = Modality::kText;
    made.ensembles = {"t"};
    const std::string words = testing::text_of(made.ticket);
    made.data = {reinterpret_cast<const std::uint8_t*>(words.data()), words.size()};
    submit(made);
  }

  void submit(Submission made) {
    const bool foreign = (made.ticket & testing::kForeignTicket) != 0;
    if (foreign) {
      ForeignBytes bytes;
      if (!life_.acceptor->put(made.ticket, made.data, bytes)) return;
      bytes.submitter = life_.acceptor;
      if (made.modality == Modality::kImage) {
        bytes.info = testing::probe_picture(made.data, {}).value();
        made.data = {};
      }
      made.foreign = bytes;
    }
    life_.expect_answer(made.ticket);
    const Status status = life_.scheduler->submit(made);
    if (status.ok()) {
      ++life_.accepted;
      return;
    }
    life_.expect_no_answer(made.ticket);
    if (foreign) life_.acceptor->take_back(made.ticket);
    const Code code = status.code();
    if (code == Code::kOverloaded) patience_ = std::max(1, life_.open_count / 2);
    ASSERT_TRUE(
        code == Code::kOverloaded || code == Code::kUnavailable || code == Code::kDeadlineExceeded ||
        (code == Code::kInvalidArgument && status.message().find("open already") != std::string::npos))
        << status.message();
  }

  // What must be refused whatever else happens.
  void submit_spoiled() {
    Submission made = submission();
    made.deadline_ns = kNever;
    made.ticket = ticket();
    auto data = testing::picture(made.ticket);
    Code expected = Code::kInvalidArgument;
    switch (random_() % 7) {
      case 0:
        data.resize(8);
        expected = Code::kInvalidContent;
        break;
      case 1:
        data.resize(5000);
        expected = Code::kTooLarge;
        break;
      case 2:
        made.ensembles = {"nobody"};
        break;
      case 3:
        made.ensembles = {"t"};
        break;
      case 4:
        made.ensembles = {"a", "a"};
        break;
      case 5:
        made.plan.max_frames = 0;
        break;
      default:
        made.modality = Modality::kText;
        made.ensembles = {"t"};
        data.assign(3, 0xFF);
        expected = Code::kInvalidContent;
    }
    made.data = data;
    const Status status = life_.scheduler->submit(made);
    ASSERT_EQ(status.code(), expected) << status.message();
  }

  Life& life_;
  std::mt19937_64 random_;
  std::uint64_t next_;
  int patience_ = 64;  // tickets open at which it waits
};

void run_round(Life& life, std::uint64_t seed, bool last) {
  life.steps_left = kRoundSteps;
  life.callers = kCallers;
  std::vector<std::thread> threads;
  threads.emplace_back([&] { FuzzedServer(life, seed).run(); });
  for (std::uint32_t number = 1; number <= kCallers; ++number) {
    threads.emplace_back([&, number] { Caller(life, number, seed).run(); });
  }
  if (last) {
    while (life.steps_left > kRoundSteps / 2 && !::testing::Test::HasFatalFailure()) {
      std::this_thread::yield();
    }
    life.draining = true;
    life.scheduler->drain();
  }
  for (std::thread& thread : threads) thread.join();
}

void add(Counters& all, const Counters& more) {
  all.tickets += more.tickets;
  all.pictures_decoded += more.pictures_decoded;
  all.frames_similar += more.frames_similar;
  all.texts_laid_out += more.texts_laid_out;
  all.decode_failures += more.decode_failures;
  all.batches += more.batches;
  all.rows_moved += more.rows_moved;
  all.rows_dead_in_flight += more.rows_dead_in_flight;
  all.batches_dead_unsent += more.batches_dead_unsent;
  all.batches_quarantined += more.batches_quarantined;
  all.batches_lost += more.batches_lost;
  all.cancelled_before_decode += more.cancelled_before_decode;
  all.cancelled_before_batch += more.cancelled_before_batch;
  all.cancelled_in_flight += more.cancelled_in_flight;
  all.expired_before_decode += more.expired_before_decode;
  all.expired_before_batch += more.expired_before_batch;
  all.expired_in_flight += more.expired_in_flight;
  for (std::size_t code = 0; code < all.refused.size(); ++code) all.refused[code] += more.refused[code];
}

TEST(SchedulerRandom, TheBooksBalance) {
  const std::uint64_t steps = setting("FLOODGATE_FUZZ_STEPS", kGateSteps);
  const std::uint64_t first_seed = setting("FLOODGATE_FUZZ_SEED", 1);
  Counters all;
  std::uint64_t seed = first_seed;
  for (std::uint64_t done = 0; done < steps; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Life life(seed);
    for (int round = 1; round <= kRounds; ++round, done += kRoundSteps) {
      run_round(life, seed * kRounds + static_cast<std::uint64_t>(round), round == kRounds);
      life.settle();
      if (HasFailure()) return;
    }
    add(all, life.scheduler->stats().counters);
    life.scheduler.reset();
    ASSERT_EQ(testing::named_regions(), 0u) << "shared memory outlived its scheduler";
  }
  const std::uint64_t refused = std::accumulate(all.refused.begin(), all.refused.end(), std::uint64_t{0});
  std::printf("%llu tickets, %llu refused, %llu batches\n", static_cast<unsigned long long>(all.tickets),
              static_cast<unsigned long long>(refused), static_cast<unsigned long long>(all.batches));
  // All of it did happen.
  for (const std::uint64_t count :
       {all.pictures_decoded, all.frames_similar, all.texts_laid_out, all.decode_failures, all.rows_moved,
        all.rows_dead_in_flight, all.batches_dead_unsent, all.batches_quarantined, all.batches_lost,
        all.cancelled_before_decode, all.cancelled_before_batch, all.cancelled_in_flight,
        all.expired_before_decode, all.expired_before_batch, all.expired_in_flight}) {
    EXPECT_GT(count, 0u);
  }
}

}  // namespace
}  // namespace floodgate
