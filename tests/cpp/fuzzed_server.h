// An inference server and its client that answer rightly, wrongly, late, twice or never, and die now and
// then.
//
// It keeps what it read when a batch came, so that it notices when somebody writes to memory that it may
// still read. Thread rule: one thread.
#pragma once

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "fuzzed_life.h"

namespace floodgate::testing {

class FuzzedServer {
 public:
  FuzzedServer(Life& life, std::uint64_t seed) : life_(life), random_(seed) {}

  // Until the callers are through and everything is answered.
  void run() {
    for (;;) {
      finishing_ = life_.callers == 0;
      if (finishing_) life_.hung.let_through();
      for (Batch& batch : life_.scheduler->take_batches()) sent_.push_back({batch, infer(batch), false});
      for (const Done& done : life_.scheduler->poll_done()) life_.check(done);
      if (::testing::Test::HasFatalFailure()) return;
      if (finishing_ && sent_.empty() && life_.open_count == 0) return;
      if (sent_.empty() || (!finishing_ && random_() % 4 == 0)) {
        // Holds on to what it has for a while: rows expire meanwhile.
        pollfd fd{life_.scheduler->fd(), POLLIN, 0};
        ::poll(&fd, 1, 1);
      }
      if (!sent_.empty()) act(random_() % sent_.size());
    }
  }

 private:
  struct Sent {
    Batch batch;
    Answers read;
    bool quarantined = false;
  };

  void act(std::size_t at) {
    (void)life_.step();
    Scheduler& scheduler = *life_.scheduler;
    switch (finishing_ ? 99 : random_() % 48) {
      case 0:
      case 1: {
        const Status status = scheduler.quarantine(sent_[at].batch.batch_id);
        ASSERT_EQ(status.ok(), !sent_[at].quarantined) << status.message();
        sent_[at].quarantined = true;
        return;
      }
      case 2:
        ASSERT_TRUE(scheduler.fail_batch(sent_[at].batch.batch_id, Code::kInternal, "no").ok());
        return forget(at);
      case 3:
        ASSERT_TRUE(scheduler.fail_batch(sent_[at].batch.batch_id, Code::kUnavailable, "gone").ok());
        return forget(at);
      case 4:
        ASSERT_FALSE(scheduler.fail_batch(1ULL << 60, Code::kInternal, "unknown").ok());
        return;
      case 5:
        if (random_() % 8 == 0) die({});
        return;
      case 6:
        if (random_() % 8 == 0) die(sent_[at].batch.generation);
        return;
      case 7:
      case 8:
        return answer_wrongly(at);
      case 9:
        return life_.audit();
      default:
        return answer(at);
    }
  }

  // What is in flight there is over; what is closed and not taken stays.
  void die(std::optional<std::uint64_t> generation) {
    ASSERT_TRUE(life_.scheduler->region_lost(generation).ok());
    std::erase_if(sent_, [&](const Sent& each) {
      if (generation && each.batch.generation != *generation) return false;
      EXPECT_FALSE(life_.scheduler->complete(each.batch.batch_id, {}, {}).ok()) << "answered after its death";
      return true;
    });
  }

  void answer(std::size_t at) {
    const Sent& each = sent_[at];
    const Answers now = infer(each.batch);
    ASSERT_EQ(now.ids, each.read.ids) << "memory in flight was overwritten";
    ASSERT_EQ(now.texts, each.read.texts) << "memory in flight was overwritten";
    complete(at, now.outputs(), {});
  }

  void answer_wrongly(std::size_t at) {
    Answers answers = sent_[at].read;
    std::vector<HeadFailure> failures;
    switch (random_() % 5) {
      case 0:
        answers.total.clear();
        break;
      case 1:
        answers.total.pop_back();
        break;
      case 2:
        answers.total[random_() % answers.total.size()] = std::numeric_limits<float>::quiet_NaN();
        break;
      case 3:
        failures.push_back({"sum", "breaker_open", "resting"});
        break;
      default:
        return complete(at, {}, {});
    }
    complete(at, answers.outputs(), failures);
  }

  void complete(std::size_t at, const std::vector<OutputValues>& outputs,
                const std::vector<HeadFailure>& failures) {
    const std::uint64_t id = sent_[at].batch.batch_id;
    ASSERT_TRUE(life_.scheduler->complete(id, outputs, failures).ok());
    ASSERT_FALSE(life_.scheduler->complete(id, outputs, failures).ok()) << "answered twice";
    forget(at);
  }

  void forget(std::size_t at) {
    std::swap(sent_[at], sent_.back());
    sent_.pop_back();
  }

  Life& life_;
  std::mt19937_64 random_;
  std::vector<Sent> sent_;
  bool finishing_ = false;
};

}  // namespace floodgate::testing
