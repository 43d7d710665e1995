#include "floodgate/rpc_session.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "rpc_client.h"

namespace floodgate {
namespace {

using testing::bytes_of;
using testing::framed;
using testing::RpcClient;
using testing::text_of;
using testing::vector_message;

using Kind = RpcEventKind;

constexpr std::uint32_t kMessageBytes = 32 << 20;

std::unique_ptr<RpcSession> session(RpcMessageFn make_message = vector_message) {
  return RpcSession::create({kMessageBytes, 4096, 100, nullptr}, std::move(make_message)).value();
}

std::vector<Kind> kinds_of(const std::vector<RpcEvent>& events) {
  std::vector<Kind> kinds;
  for (const RpcEvent& event : events) kinds.push_back(event.kind);
  return kinds;
}

class RpcSessionTest : public ::testing::Test {
 protected:
  // What happens to one call that says `body`.
  std::vector<RpcEvent> events_of(std::string body, const RpcClient::Headers& extra = {}) {
    call_ = client_.call(std::move(body), false, extra);
    EXPECT_TRUE(client_.exchange().ok());
    return server_->take_events();
  }

  std::unique_ptr<RpcSession> server_ = session();
  RpcClient client_{*server_};
  std::int32_t call_ = 0;
};

TEST_F(RpcSessionTest, ACallIsHeardAndAnswered) {
  auto events =
      events_of(framed("hello"), {{"grpc-timeout", "5S"}, {"grpc-encoding", "gzip"}, {"other", "x"}});
  ASSERT_EQ(kinds_of(events), (std::vector{Kind::kCall, Kind::kMessage, Kind::kEnd}));
  EXPECT_EQ(events[0].head->method, "POST");
  EXPECT_EQ(events[0].head->path, "/s/m");
  EXPECT_EQ(events[0].head->content_type, "application/grpc");
  EXPECT_EQ(events[0].head->timeout, "5S");
  EXPECT_EQ(events[0].head->encoding, "gzip");
  EXPECT_EQ(text_of(*events[1].message), "hello");
  EXPECT_FALSE(events[1].compressed);

  server_->send(call_, bytes_of("world"));
  server_->finish(call_, {{"grpc-status", "0"}});
  ASSERT_TRUE(client_.exchange().ok());
  EXPECT_EQ(kinds_of(server_->take_events()), std::vector{Kind::kClosed});
  const auto& answer = client_.answer(call_);
  EXPECT_EQ(answer.data, framed("world"));
  EXPECT_EQ(answer.headers.at(":status"), "200");
  EXPECT_EQ(answer.headers.at("content-type"), "application/grpc");
  EXPECT_EQ(answer.headers.at("grpc-status"), "0");
  EXPECT_TRUE(answer.closed);
  EXPECT_EQ(answer.reset, NGHTTP2_NO_ERROR);
  EXPECT_EQ(server_->calls(), 0U);
}

TEST_F(RpcSessionTest, BytesMayComeOneByOne) {
  call_ = client_.call(framed("a") + framed("") + framed("bc", 1));
  ASSERT_TRUE(client_.exchange(1).ok());
  auto events = server_->take_events();
  ASSERT_EQ(kinds_of(events),
            (std::vector{Kind::kCall, Kind::kMessage, Kind::kMessage, Kind::kMessage, Kind::kEnd}));
  EXPECT_EQ(text_of(*events[1].message), "a");
  EXPECT_EQ(text_of(*events[2].message), "");
  EXPECT_EQ(text_of(*events[3].message), "bc");
  EXPECT_TRUE(events[3].compressed);
}

TEST_F(RpcSessionTest, AMessageLargerThanAnyWindowArrives) {
  const std::string large(kMessageBytes, 'x');
  auto events = events_of(framed(large));
  ASSERT_EQ(kinds_of(events), (std::vector{Kind::kCall, Kind::kMessage, Kind::kEnd}));
  EXPECT_TRUE(text_of(*events[1].message) == large);
}

TEST_F(RpcSessionTest, AnAnswerLargerThanTheClientsWindowIsSentAsItTakesIt) {
  events_of(framed("?"));
  const std::string large(1 << 20, 'y');
  server_->send(call_, bytes_of(large));
  EXPECT_EQ(server_->unsent(call_), large.size() + 5);
  const std::string first = server_->output();
  EXPECT_GT(server_->unsent(call_), 0U) << "more than the client's window left at once";
  EXPECT_LT(first.size(), large.size());
}

TEST_F(RpcSessionTest, WhoeverLeavesMessagesLyingIsSentNoMore) {
  std::string many;
  for (int i = 0; i < 64; ++i) many += framed(std::string(1 << 20, static_cast<char>('a' + i % 26)));
  call_ = client_.call(many);
  ASSERT_TRUE(client_.exchange().ok());
  auto events = server_->take_events();
  EXPECT_GT(client_.unsaid(call_), many.size() / 2) << "the client was not held back";
  std::size_t messages = 0;
  for (int turn = 0; turn < 1000 && kinds_of(events).back() != Kind::kEnd; ++turn) {
    for (const RpcEvent& event : events) {
      if (event.kind != Kind::kMessage) continue;
      ++messages;
      server_->taken(call_);
    }
    ASSERT_TRUE(client_.exchange().ok());
    events = server_->take_events();
    ASSERT_FALSE(events.empty()) << "stuck after " << messages;
  }
  for (const RpcEvent& event : events) messages += event.kind == Kind::kMessage ? 1 : 0;
  EXPECT_EQ(messages, 64U);
}

TEST_F(RpcSessionTest, TrailersAloneAreAnAnswerAndStopAClientThatGoesOn) {
  call_ = client_.call(framed("first"), true);
  ASSERT_TRUE(client_.exchange().ok());
  server_->finish(call_, {{"grpc-status", "8"}, {"grpc-message", "busy"}});
  ASSERT_TRUE(client_.exchange().ok());
  const auto& answer = client_.answer(call_);
  EXPECT_EQ(answer.headers.at("grpc-status"), "8");
  EXPECT_TRUE(answer.closed);
  EXPECT_EQ(answer.reset, NGHTTP2_NO_ERROR);
  EXPECT_EQ(kinds_of(server_->take_events()).back(), Kind::kClosed);
}

TEST_F(RpcSessionTest, AnEndAfterAnswersStopsAClientThatGoesOn) {
  call_ = client_.call(framed("first"), true);
  ASSERT_TRUE(client_.exchange().ok());
  server_->send(call_, bytes_of("answer"));
  ASSERT_TRUE(client_.exchange().ok());
  server_->finish(call_, {{"grpc-status", "0"}});
  ASSERT_TRUE(client_.exchange().ok());
  EXPECT_EQ(client_.answer(call_).data, framed("answer"));
  EXPECT_EQ(client_.answer(call_).headers.at("grpc-status"), "0");
  EXPECT_TRUE(client_.answer(call_).closed);
  EXPECT_EQ(server_->calls(), 0U);
}

TEST_F(RpcSessionTest, AnotherHttpStatusCanBeSaid) {
  events_of("");
  server_->finish(call_, {}, "415");
  ASSERT_TRUE(client_.exchange().ok());
  EXPECT_EQ(client_.answer(call_).headers.at(":status"), "415");
}

TEST_F(RpcSessionTest, ACancelledCallIsClosedAndHearsNothingMore) {
  call_ = client_.call(framed("a"), true);
  ASSERT_TRUE(client_.exchange().ok());
  server_->send(call_, bytes_of(std::string(1 << 20, 'z')));
  client_.cancel(call_);
  ASSERT_TRUE(client_.exchange().ok());
  EXPECT_EQ(kinds_of(server_->take_events()).back(), Kind::kClosed);
  server_->send(call_, bytes_of("late"));
  server_->finish(call_, {{"grpc-status", "0"}});
  server_->taken(call_);
  EXPECT_EQ(server_->unsent(call_), 0U);
  EXPECT_EQ(server_->output(), "");
}

struct Fault {
  const char* name;
  std::string body;
  Code code;
  const char* says;
};

class RpcFault : public ::testing::TestWithParam<Fault> {};

TEST_P(RpcFault, EndsItsCallAndNoOther) {
  auto server = session();
  RpcClient client(*server);
  const auto good = client.call(framed("good"), true);
  const auto bad = client.call(GetParam().body);
  ASSERT_TRUE(client.exchange().ok());
  std::vector<RpcEvent> faults;
  for (RpcEvent& event : server->take_events()) {
    if (event.kind == Kind::kFault) faults.push_back(std::move(event));
  }
  ASSERT_EQ(faults.size(), 1U);
  EXPECT_EQ(faults[0].call, bad);
  EXPECT_EQ(faults[0].fault.code(), GetParam().code);
  EXPECT_NE(faults[0].fault.message().find(GetParam().says), std::string::npos) << faults[0].fault.message();
  server->finish(bad, {{"grpc-status", "3"}});
  client.say(good, framed("more"), true);
  ASSERT_TRUE(client.exchange().ok());
  EXPECT_TRUE(client.answer(bad).closed);
  std::vector<Kind> heard;
  for (const RpcEvent& event : server->take_events()) {
    if (event.call == good) heard.push_back(event.kind);
  }
  EXPECT_EQ(heard, (std::vector{Kind::kMessage, Kind::kEnd}));
}

INSTANTIATE_TEST_SUITE_P(
    All, RpcFault,
    ::testing::Values(Fault{"flag", framed("x", 7), Code::kInvalidArgument, "is this gRPC?"},
                      Fault{"too_long", std::string{0, 2, 0, 0, 1}, Code::kTooLarge, "at most 33554432"},
                      Fault{"half_a_prefix", std::string{0, 0}, Code::kInvalidArgument,
                            "middle of a message"},
                      Fault{"half_a_message", framed("four").substr(0, 7), Code::kInvalidArgument, "middle"}),
    [](const auto& param_info) { return param_info.param.name; });

TEST(RpcSession, MemoryThatCannotBeHadFailsOneCall) {
  auto server = session([](std::size_t size) { return size > 10 ? nullptr : vector_message(size); });
  RpcClient client(*server);
  client.call(framed(std::string(11, 'x')));
  ASSERT_TRUE(client.exchange().ok());
  auto events = server->take_events();
  ASSERT_EQ(kinds_of(events), (std::vector{Kind::kCall, Kind::kFault}));
  EXPECT_EQ(events[1].fault.code(), Code::kOverloaded);
}

TEST_F(RpcSessionTest, TooLongHeadersFailTheCall) {
  auto events = events_of("", {{"long", std::string(5000, 'h')}});
  ASSERT_EQ(kinds_of(events), (std::vector{Kind::kCall, Kind::kFault}));
  EXPECT_EQ(events[1].fault.code(), Code::kTooLarge);
}

TEST_F(RpcSessionTest, ClientsMayReuseAConnectionForLong) {
  for (int i = 0; i < 2000; ++i) {
    events_of(framed("x"));
    server_->send(call_, bytes_of("y"));
    server_->finish(call_, {{"grpc-status", "0"}});
  }
  ASSERT_TRUE(client_.exchange().ok());
  EXPECT_EQ(client_.answer(call_).headers.at("grpc-status"), "0");
}

TEST_F(RpcSessionTest, ManyCancelledCallsAreNoReasonToHangUp) {
  for (int i = 0; i < 5000; ++i) {
    const auto id = client_.call(framed("x"), true);
    ASSERT_TRUE(client_.exchange().ok());
    client_.cancel(id);
    ASSERT_TRUE(client_.exchange().ok());
  }
  EXPECT_FALSE(client_.sent_away());
  EXPECT_EQ(server_->calls(), 0U);
}

TEST_F(RpcSessionTest, GoingAwayLetsCallsUnderWayEnd) {
  call_ = client_.call(framed("x"));
  ASSERT_TRUE(client_.exchange().ok());
  server_->go_away();
  ASSERT_TRUE(client_.exchange().ok());
  EXPECT_TRUE(client_.sent_away());
  EXPECT_FALSE(server_->over());
  server_->finish(call_, {{"grpc-status", "0"}});
  ASSERT_TRUE(client_.exchange().ok());
  EXPECT_EQ(client_.answer(call_).headers.at("grpc-status"), "0");
  EXPECT_TRUE(server_->over());
}

TEST(RpcSession, WhatNobodyHasTakenIsChargedUntilItIsOrItsCallEnds) {
  const auto budget = std::make_shared<RpcBudget>(300'000);
  auto server = RpcSession::create({kMessageBytes, 4096, 100, budget}, vector_message).value();
  auto other = RpcSession::create({kMessageBytes, 4096, 100, budget}, vector_message).value();
  RpcClient client(*server);
  RpcClient second(*other);
  const auto taken = client.call(framed(std::string(100'000, 'a')), true);
  const auto half = client.call(framed(std::string(150'000, 'b')).substr(0, 100'000), true);
  ASSERT_TRUE(client.exchange().ok());
  EXPECT_EQ(budget->used(), 200'005U);
  second.call(framed(std::string(200'000, 'c')));  // too much now
  second.call(framed("small"));                    // there is always room
  ASSERT_TRUE(second.exchange().ok());
  std::vector<Code> faults;
  std::size_t messages = 0;
  for (const RpcEvent& event : other->take_events()) {
    if (event.kind == Kind::kFault) faults.push_back(event.fault.code());
    messages += event.kind == Kind::kMessage ? 1 : 0;
  }
  EXPECT_EQ(faults, std::vector{Code::kOverloaded});
  EXPECT_EQ(messages, 1U);
  EXPECT_EQ(budget->used(), 200'005U + 10U);
  server->taken(taken);
  EXPECT_EQ(budget->used(), 100'000U + 10U);
  client.cancel(half);
  ASSERT_TRUE(client.exchange().ok());
  other.reset();
  EXPECT_EQ(budget->used(), 0U);
}

TEST_F(RpcSessionTest, AMessageThatDoesNotComeOnIsSeen) {
  const auto half = client_.call(framed("message").substr(0, 7), true);
  const auto whole = client_.call(framed("message"), true);
  ASSERT_TRUE(client_.exchange().ok());
  EXPECT_TRUE(server_->stalled().empty()) << "both have only just come";
  EXPECT_EQ(server_->stalled(), std::vector{half});
  client_.say(half, "s", false);
  ASSERT_TRUE(client_.exchange().ok());
  EXPECT_TRUE(server_->stalled().empty());
  server_->reset(half);
  server_->reset(whole);
  ASSERT_TRUE(client_.exchange().ok());
  EXPECT_EQ(client_.answer(half).reset, NGHTTP2_CANCEL);
  EXPECT_EQ(server_->calls(), 0U);
}

TEST(RpcSession, WhatIsNoHttp2IsRefused) {
  auto server = session();
  const Status status = server->receive(bytes_of("GET / HTTP/1.1\r\nHost: here\r\n\r\n"));
  EXPECT_EQ(status.code(), Code::kInvalidArgument);
  EXPECT_FALSE(status.message().empty());
}

}  // namespace
}  // namespace floodgate
