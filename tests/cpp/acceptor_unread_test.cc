// Acceptors that leave their answers unread.
#include "acceptor_harness.h"

namespace floodgate {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

// A text of many rows, whose answer is longer than what a small socket holds.
const std::string kLongText(8000, 'x');
constexpr std::size_t kLongRows = 500;

TEST(Acceptor, AnswersThatNobodyReadsYetAreKept) {
  SchedulerOptions options;
  options.max_queue_rows = 100'000;
  Exchange exchange(1, std::move(options));
  exchange.small_sockets = true;
  const auto link = exchange.link(0);
  constexpr std::size_t kTickets = 60;
  std::size_t sent = 0;
  std::map<std::uint64_t, Done> answers;
  const auto serve_unread = [&] {
    return exchange.eventually([&] {
      for (const Batch& batch : std::exchange(exchange.bench.batches, {})) exchange.bench.answer(batch);
      const AcceptorState state = exchange.state(0);
      return state.open == 0 && state.submitted == sent && state.unsent_bytes > 0;
    });
  };
  while (sent < kTickets) {
    if (submit_text(*link, sent + 1, kLongText).ok()) {
      ++sent;
      continue;
    }
    // The arena is full: what was taken is served without reading a single answer.
    ASSERT_TRUE(serve_unread());
    for (Done& done : link->poll()) answers[done.ticket] = std::move(done);
  }
  ASSERT_TRUE(serve_unread());
  ASSERT_TRUE(exchange.eventually([&] {
    for (Done& done : link->poll()) answers[done.ticket] = std::move(done);
    return answers.size() == kTickets;
  }));
  for (const auto& [ticket, done] : answers) EXPECT_EQ(done.rows.size(), kLongRows) << ticket;
  EXPECT_TRUE(exchange.eventually([&] { return exchange.state(0).unsent_bytes == 0; }));
  exchange.expect_nothing_held(0);
}

TEST(Acceptor, NothingMoreIsTakenFromOneThatLeavesTooManyAnswersUnread) {
  HubOptions hub;
  hub.most_unsent_bytes = 1000;
  Exchange exchange(2, {}, image_ensemble(), std::move(hub));
  const auto other = exchange.link(1);
  exchange.small_sockets = true;
  const auto link = exchange.link(0);
  ASSERT_TRUE(submit_text(*link, 1, kLongText).ok());
  ASSERT_TRUE(exchange.eventually([&] {
    for (const Batch& batch : std::exchange(exchange.bench.batches, {})) exchange.bench.answer(batch);
    return exchange.state(0).unsent_bytes > 1000;
  }));
  ASSERT_TRUE(submit_picture(*link, 2).ok());
  // Twice there and back: the hub's thread has been through all that it listens to since.
  for (const std::uint64_t id : {3, 4}) {
    ASSERT_TRUE(submit_picture(*other, id).ok());
    EXPECT_EQ(exchange.serve(*other, 1).at(id).code, Code::kOk);
  }
  EXPECT_EQ(exchange.state(0).submitted, 1U);
  const auto answers = exchange.serve(*link, 2);
  EXPECT_EQ(answers.at(1).rows.size(), kLongRows);
  EXPECT_EQ(answers.at(2).code, Code::kOk);
  exchange.expect_nothing_held(0);
}

}  // namespace
}  // namespace floodgate
