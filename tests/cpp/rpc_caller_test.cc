#include "floodgate/rpc_caller.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rpc_client.h"

namespace floodgate {
namespace {

using testing::bytes_of;
using testing::text_of;
using testing::vector_message;

// A caller and the server's session, without sockets between them.
class RpcCallerTest : public ::testing::Test {
 protected:
  // Carries bytes both ways until nobody says more; what the server heard.
  std::vector<RpcEvent> exchange() {
    std::vector<RpcEvent> events;
    for (;;) {
      const std::string there = caller_->output();
      EXPECT_TRUE(server_->receive(bytes_of(there)).ok());
      for (RpcEvent& event : server_->take_events()) {
        if (event.kind == RpcEventKind::kMessage) server_->taken(event.call);
        events.push_back(std::move(event));
      }
      const std::string back = server_->output();
      EXPECT_TRUE(caller_->receive(bytes_of(back)).ok());
      if (there.empty() && back.empty()) return events;
    }
  }
  RpcAnswer only_answer() {
    auto answers = caller_->take_answers();
    EXPECT_EQ(answers.size(), 1U);
    return answers.empty() ? RpcAnswer{} : std::move(answers[0]);
  }

  std::unique_ptr<RpcSession> server_ =
      RpcSession::create({64 << 20, 4096, 2, nullptr}, vector_message).value();
  std::unique_ptr<RpcCaller> caller_ = RpcCaller::create("there:1", 1 << 20, vector_message).value();
};

TEST_F(RpcCallerTest, ACallIsAnswered) {
  const auto call = caller_->call("/s/m", bytes_of("question")).value();
  auto events = exchange();
  ASSERT_EQ(events.size(), 3U);
  EXPECT_EQ(events[0].head->path, "/s/m");
  EXPECT_EQ(events[0].head->content_type, "application/grpc");
  EXPECT_EQ(text_of(*events[1].message), "question");
  EXPECT_TRUE(caller_->take_answers().empty());
  server_->send(events[0].call, bytes_of("answer"));
  server_->finish(events[0].call, {{"grpc-status", "0"}});
  exchange();
  const RpcAnswer answer = only_answer();
  EXPECT_EQ(answer.call, call);
  EXPECT_EQ(text_of(*answer.message), "answer");
  EXPECT_EQ(answer.http_status, "200");
  EXPECT_EQ(answer.status, "0");
  EXPECT_TRUE(answer.fault.ok());
}

TEST_F(RpcCallerTest, LargeMessagesGoBothWays) {
  const std::string large(48 << 20, 'x');
  ASSERT_TRUE(caller_->call("/s/m", bytes_of(large)).ok());
  auto events = exchange();
  ASSERT_EQ(events.size(), 3U);
  EXPECT_TRUE(text_of(*events[1].message) == large);
  server_->send(1, bytes_of(std::string(1 << 20, 'y')));
  server_->finish(1, {{"grpc-status", "0"}});
  exchange();
  EXPECT_EQ(only_answer().message->bytes().size(), std::size_t{1} << 20);
}

TEST_F(RpcCallerTest, ARefusalSaysWhy) {
  ASSERT_TRUE(caller_->call("/s/m", bytes_of("")).ok());
  exchange();
  server_->finish(1, {{"grpc-status", "14"}, {"grpc-message", "not%20now"}});
  exchange();
  const RpcAnswer answer = only_answer();
  EXPECT_EQ(answer.status, "14");
  EXPECT_EQ(answer.text, "not%20now");
  EXPECT_EQ(answer.message, nullptr);
}

TEST_F(RpcCallerTest, WhatGrpcDoesNotAllowIsAFault) {
  ASSERT_TRUE(caller_->call("/s/m", bytes_of("")).ok());
  ASSERT_TRUE(caller_->call("/s/m", bytes_of("")).ok());
  exchange();
  server_->send(1, bytes_of(std::string((1 << 20) + 1, 'z')));
  server_->send(3, bytes_of("one"));
  server_->send(3, bytes_of("two"));
  for (const std::int32_t call : {1, 3}) server_->finish(call, {{"grpc-status", "0"}});
  exchange();
  const auto answers = caller_->take_answers();
  ASSERT_EQ(answers.size(), 2U);
  for (const RpcAnswer& answer : answers) {
    EXPECT_EQ(answer.fault.code(), answer.call == 1 ? Code::kTooLarge : Code::kInvalidArgument);
  }
}

TEST_F(RpcCallerTest, CallsBeyondWhatTheServerTakesWaitTheirTurn) {
  exchange();  // settings
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(caller_->call("/s/m", bytes_of("x")).ok());
  int answered = 0;
  for (auto events = exchange(); !events.empty(); events = exchange()) {
    EXPECT_LE(server_->calls(), 2U);
    for (const RpcEvent& event : events) {
      if (event.kind == RpcEventKind::kEnd) server_->finish(event.call, {{"grpc-status", "5"}});
    }
  }
  for (const RpcAnswer& answer : caller_->take_answers()) answered += answer.status == "5" ? 1 : 0;
  EXPECT_EQ(answered, 5);
}

TEST_F(RpcCallerTest, ACallTakenBackEndsOnBothSides) {
  const auto call = caller_->call("/s/m", bytes_of("x")).value();
  exchange();
  caller_->cancel(call);
  caller_->cancel(call + 2);  // no such call
  auto events = exchange();
  ASSERT_EQ(events.size(), 1U);
  EXPECT_EQ(events[0].kind, RpcEventKind::kClosed);
  EXPECT_EQ(only_answer().fault.code(), Code::kUnavailable);
}

TEST_F(RpcCallerTest, AServerThatGoesAwayFinishesWhatItBegan) {
  exchange();  // settings
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(caller_->call("/s/m", bytes_of("x")).ok());
  exchange();  // two are there, one waits
  server_->go_away();
  exchange();
  EXPECT_EQ(caller_->call("/s/m", bytes_of("x")).status().code(), Code::kUnavailable);
  EXPECT_FALSE(caller_->over());
  for (const std::int32_t call : {1, 3}) server_->finish(call, {{"grpc-status", "0"}});
  exchange();
  const auto answers = caller_->take_answers();
  ASSERT_EQ(answers.size(), 3U);
  for (const RpcAnswer& answer : answers) {
    EXPECT_EQ(answer.fault.code(), answer.call == 5 ? Code::kCancelled : Code::kOk) << answer.call;
  }
  EXPECT_TRUE(caller_->over());
}

TEST_F(RpcCallerTest, AfterWhatIsNoHttp2NothingMoreIsWanted) {
  ASSERT_TRUE(caller_->call("/s/m", bytes_of("x")).ok());
  EXPECT_TRUE(caller_->receive(bytes_of("HTTP/1.1 400 Bad Request\r\n\r\n")).ok());
  caller_->output();
  EXPECT_TRUE(caller_->over());
}

}  // namespace
}  // namespace floodgate
