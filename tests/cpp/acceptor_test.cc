// Acceptors: another process's parts through the one scheduler.
#include <array>

#include "acceptor/message.h"
#include "acceptor_harness.h"
#include "worker/descriptor.h"

namespace floodgate {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)

TEST(Acceptor, APictureAndATextAreAnsweredAsIfTheyHadBeenSubmittedThere) {
  Exchange exchange(1);
  const auto link = exchange.link(0);
  const std::string text = "seventeen letters";
  ASSERT_TRUE(submit_picture(*link, 77).ok());
  ASSERT_TRUE(submit_text(*link, 78, text).ok());
  const auto answers = exchange.serve(*link, 2);

  ASSERT_TRUE(exchange.bench.submit_picture(77).ok());
  ASSERT_TRUE(exchange.bench.submit_text(78, text).ok());
  exchange.bench.serve({77, 78});
  for (const std::uint64_t ticket : {77, 78}) {
    const Done& remote = answers.at(ticket);
    const Done& local = exchange.bench.done[ticket];
    EXPECT_EQ(remote.code, Code::kOk);
    EXPECT_EQ(remote.copied_bytes, local.copied_bytes);
    EXPECT_EQ(remote.frames_sampled, local.frames_sampled);
    EXPECT_EQ(remote.info.has_value(), local.info.has_value());
    ASSERT_EQ(remote.rows.size(), local.rows.size());
    for (std::size_t row = 0; row < local.rows.size(); ++row) {
      EXPECT_EQ(remote.rows[row].span, local.rows[row].span);
      ASSERT_EQ(remote.rows[row].scores.size(), 1U);
      EXPECT_EQ(remote.rows[row].scores[0].values, local.rows[row].scores[0].values);
      EXPECT_EQ(remote.rows[row].scores[0].config->name, local.rows[row].scores[0].config->name);
    }
  }
  EXPECT_EQ(answers.at(77).info->width, 2U);
  EXPECT_EQ(id_of(answers.at(77).rows[0].scores[0]), 77U);
  EXPECT_EQ(answers.at(78).rows.size(), 2U);
  exchange.expect_nothing_held(0);
  EXPECT_TRUE(exchange.eventually([&] { return link->poll().empty() && link->stats().open_tickets == 0; }));
  EXPECT_EQ(link->stats().arena_used_bytes, 0U);
  EXPECT_EQ(exchange.state(0).submitted, 2U);
}

TEST(Acceptor, AHeadThatIsMissingSaysWhyOverThereToo) {
  Exchange exchange(1);
  const auto link = exchange.link(0);
  ASSERT_TRUE(submit_picture(*link, 1).ok());
  const Batch batch = exchange.bench.await_batch();
  const Answers answers = infer(batch);
  const std::vector<OutputValues> outputs = {{"id__words", answers.words}};
  const std::vector<HeadFailure> failures = {{"sum", "breaker_open", "switched off"}};
  ASSERT_TRUE(exchange.bench.scheduler->complete(batch.batch_id, outputs, failures).ok());
  const RowScores scores = exchange.serve(*link, 1).at(1).rows.at(0).scores.at(0);
  ASSERT_EQ(scores.missing.size(), 1U);
  EXPECT_EQ(scores.missing[0].head, "sum");
  EXPECT_EQ(scores.missing[0].reason, "breaker_open");
  EXPECT_FALSE(scores.output(1).has_value());
  EXPECT_EQ(id_of(scores), 1U);
}

TEST(Acceptor, WhatTheSchedulerRefusesIsToldWithItsReason) {
  SchedulerOptions options;
  options.max_queue_rows = 2;
  Exchange exchange(1, std::move(options));
  const auto link = exchange.link(0);
  ASSERT_TRUE(submit_picture(*link, 1, kGated, Lane::kLive).ok());
  exchange.bench.gate.await(1);
  for (std::uint64_t id = 2; id < 6; ++id) ASSERT_TRUE(submit_picture(*link, id, kPlain, Lane::kLive).ok());
  std::map<std::uint64_t, Done> answers;
  ASSERT_TRUE(exchange.eventually([&] {
    for (Done& done : link->poll()) answers[done.ticket] = std::move(done);
    return answers.size() == 2;
  }));
  for (const auto& [ticket, done] : answers) {
    EXPECT_EQ(done.code, Code::kOverloaded);
    EXPECT_NE(done.message.find("the queue is full"), std::string::npos) << done.message;
    EXPECT_TRUE(done.rows.empty());
  }
  EXPECT_EQ(exchange.state(0).refused, 2U);
  exchange.bench.gate.open();
  exchange.serve(*link, 3);
  exchange.expect_nothing_held(0);
}

TEST(Acceptor, WhatCannotBeTakenIsRefusedBeforeItIsSent) {
  Exchange exchange(1);
  const auto link = exchange.link(0);
  EXPECT_EQ(submit_picture(*link, 1, kPlain, Lane::kStandard, 1).code(), Code::kDeadlineExceeded);
  EXPECT_EQ(submit_picture(*link, 1, kPlain, Lane::kBulk, kNever, kSmallArena - 9).code(), Code::kTooLarge);
  EXPECT_EQ(submit_text(*link, 1, "\xff").code(), Code::kInvalidContent);
  ASSERT_TRUE(submit_picture(*link, 1, kGated).ok());
  EXPECT_EQ(submit_picture(*link, 1).code(), Code::kInvalidArgument);
  ASSERT_TRUE(submit_picture(*link, 2, kPlain, Lane::kStandard, kNever, kSmallArena / 2).ok());
  EXPECT_EQ(submit_picture(*link, 3, kPlain, Lane::kStandard, kNever, kSmallArena * 7 / 16).code(),
            Code::kOverloaded);
  // The last tenth is LIVE's.
  EXPECT_TRUE(submit_picture(*link, 4, kPlain, Lane::kLive, kNever, kSmallArena * 7 / 16).ok());
  const LinkStats stats = link->stats();
  EXPECT_EQ(stats.refused[static_cast<std::size_t>(Code::kOverloaded)], 1U);
  EXPECT_EQ(stats.refused[static_cast<std::size_t>(Code::kTooLarge)], 1U);
  exchange.bench.gate.open();
  exchange.serve(*link, 3);
  exchange.expect_nothing_held(0);
}

TEST(Acceptor, LiveOfOneGoesBeforeBulkOfAnother) {
  Gate gate;
  std::vector<std::uint64_t> order;
  SchedulerOptions options;
  options.decode_workers = 1;
  options.lane_floors = {0, 0, 0};
  options.decode = [&, plain = fake_decode(&gate)](auto data, const auto& info, const auto& limits,
                                                   const auto& how, auto targets) {
    std::uint64_t id = 0;
    std::memcpy(&id, &data[1], 8);
    order.push_back(id);
    return plain(data, info, limits, how, targets);
  };
  EnsembleConfig pictures = image_ensemble();
  pictures.max_batch = 64;
  Exchange exchange(2, std::move(options), pictures);
  const auto one = exchange.link(0);
  const auto other = exchange.link(1);
  ASSERT_TRUE(submit_picture(*one, 1, kGated).ok());
  gate.await(1);
  std::vector<std::uint64_t> expected{1, 5};
  for (std::uint64_t id = 10; id < 20; ++id) {
    ASSERT_TRUE(submit_picture(*one, id, kPlain, Lane::kBulk).ok());
    expected.push_back(id);
  }
  ASSERT_TRUE(exchange.eventually([&] { return exchange.state(0).submitted == 11; }));
  ASSERT_TRUE(submit_picture(*other, 5, kPlain, Lane::kLive).ok());
  ASSERT_TRUE(exchange.eventually([&] { return exchange.state(1).submitted == 1; }));
  gate.open();
  // Nothing is answered before all are decoded: what the first answer teaches of costs would change the
  // order.
  ASSERT_TRUE(
      exchange.eventually([&] { return exchange.bench.scheduler->stats().ensembles[0].waiting_rows == 0; }));
  exchange.serve(*one, 11);
  exchange.serve(*other, 1);
  EXPECT_EQ(order, expected);
  exchange.expect_nothing_held(0);
}

TEST(Acceptor, BytesStayUntilTheDecodeThatReadsThemHasEnded) {
  Exchange exchange(1);
  const auto link = exchange.link(0);
  ASSERT_TRUE(submit_picture(*link, 1, kGated).ok());
  exchange.bench.gate.await(1);
  link->cancel(1);
  std::vector<Done> done;
  ASSERT_TRUE(exchange.eventually([&] {
    for (Done& each : link->poll()) done.push_back(std::move(each));
    return !done.empty();
  }));
  EXPECT_EQ(done[0].code, Code::kCancelled);
  EXPECT_EQ(exchange.state(0).open, 0U);
  EXPECT_EQ(exchange.state(0).held, 1U);
  EXPECT_GT(link->stats().arena_used_bytes, 0U);
  exchange.bench.gate.open();
  exchange.expect_nothing_held(0);
  EXPECT_TRUE(
      exchange.eventually([&] { return link->poll().empty() && link->stats().arena_used_bytes == 0; }));
}

TEST(Acceptor, TheDigestComesWithTheAnswerAlsoOfWhatNobodyDecodedInTime) {
  SchedulerOptions options;
  options.decode_workers = 1;
  Exchange exchange(1, std::move(options));
  const auto link = exchange.link(0);
  const std::string text = "a text of several rows, the digest of which is that of the whole";
  ASSERT_TRUE(submit_picture(*link, 1).ok());
  ASSERT_TRUE(submit_text(*link, 2, text).ok());
  auto done = exchange.serve(*link, 2);
  EXPECT_EQ(done[1].digest, sha256(picture(1)));
  EXPECT_EQ(done[2].digest, sha256({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}));
  const Nanos soon = monotonic_now() + kSecond / 4;
  ASSERT_TRUE(submit_picture(*link, 3, kGated, Lane::kStandard, soon).ok());
  exchange.bench.gate.await(1);
  ASSERT_TRUE(submit_picture(*link, 4, kPlain, Lane::kStandard, soon).ok());
  done = exchange.serve(*link, 2);
  EXPECT_EQ(done[3].digest, sha256(picture(3, kGated)));
  EXPECT_EQ(done[4].code, Code::kDeadlineExceeded);
  EXPECT_EQ(digest_of(done[4]), sha256(picture(4)));
  exchange.bench.gate.open();
  exchange.bench.scheduler->drain();
  ASSERT_TRUE(submit_picture(*link, 5).ok());
  done = exchange.serve(*link, 1);
  EXPECT_EQ(done[5].code, Code::kUnavailable) << "refused over there";
  EXPECT_EQ(digest_of(done[5]), sha256(picture(5)));
  exchange.expect_nothing_held(0);
  EXPECT_TRUE(
      exchange.eventually([&] { return link->poll().empty() && link->stats().arena_used_bytes == 0; }));
}

TEST(Acceptor, TheDigestIsKnownToOneThatHasLostItsScheduler) {
  Exchange exchange(1);
  const auto link = exchange.link(0);
  ASSERT_TRUE(submit_picture(*link, 1).ok());
  // Decoded and released, and its batch is never answered. A release alone wakes nobody.
  ASSERT_TRUE(exchange.eventually([&] { return !exchange.bench.batches.empty(); }));
  exchange.hub->set_ready(true);
  ASSERT_TRUE(
      exchange.eventually([&] { return link->poll().empty() && link->stats().arena_used_bytes == 0; }));
  ASSERT_TRUE(submit_picture(*link, 2, kGated).ok());
  exchange.bench.gate.await(1);
  exchange.hub.reset();
  std::map<std::uint64_t, Done> done;
  ASSERT_TRUE(exchange.eventually([&] {
    for (Done& each : link->poll()) done[each.ticket] = std::move(each);
    return !link->connected();
  }));
  for (const std::uint64_t ticket : {1, 2}) {
    EXPECT_EQ(done[ticket].code, Code::kUnavailable);
    EXPECT_EQ(digest_of(done[ticket]), sha256(picture(ticket, ticket == 1 ? kPlain : kGated)));
  }
}

TEST(Acceptor, OneThatIsGoneTakesOnlyItsOwnTicketsWithIt) {
  Exchange exchange(2);
  auto lost = exchange.link(0);
  const auto other = exchange.link(1);
  ASSERT_TRUE(submit_picture(*lost, 1, kGated).ok());
  exchange.bench.gate.await(1);
  for (std::uint64_t id = 2; id < 9; ++id) {
    ASSERT_TRUE(submit_picture(*lost, id).ok());
    ASSERT_TRUE(submit_picture(*other, id).ok());
  }
  ASSERT_TRUE(exchange.eventually([&] { return exchange.state(1).submitted == 7; }));
  lost.reset();
  ASSERT_TRUE(
      exchange.eventually([&] { return !exchange.state(0).connected && exchange.state(0).open == 0; }));
  EXPECT_EQ(exchange.state(0).reason, "");
  // A decode still reads its arena: nobody else may have it yet.
  EXPECT_EQ(exchange.state(0).held, 1U);
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  EXPECT_EQ(exchange.hub->attach(0, ends[0]).code(), Code::kUnavailable);
  close(ends[1]);
  exchange.bench.gate.open();
  for (const auto& [ticket, done] : exchange.serve(*other, 7)) EXPECT_EQ(done.code, Code::kOk) << ticket;
  exchange.expect_nothing_held(0);
  const auto next = exchange.link(0);
  ASSERT_TRUE(submit_picture(*next, 1).ok());
  EXPECT_EQ(exchange.serve(*next, 1).at(1).code, Code::kOk);
  EXPECT_EQ(exchange.state(0).submitted, 9U);
}

TEST(Acceptor, WithoutItsSchedulerEveryPartIsAnsweredUnavailable) {
  Exchange exchange(1);
  const auto link = exchange.link(0);
  exchange.hub->set_ready(true);
  ASSERT_TRUE(exchange.eventually([&] { return link->poll().empty() && link->ready(); }));
  ASSERT_TRUE(submit_picture(*link, 1, kGated).ok());
  ASSERT_TRUE(submit_picture(*link, 2).ok());
  exchange.bench.gate.await(1);
  exchange.hub.reset();
  std::vector<Done> done;
  ASSERT_TRUE(exchange.eventually([&] {
    for (Done& each : link->poll()) done.push_back(std::move(each));
    return !link->connected();
  }));
  ASSERT_EQ(done.size(), 2U);
  for (const Done& each : done) {
    EXPECT_TRUE(each.code == Code::kUnavailable || each.code == Code::kCancelled) << code_name(each.code);
  }
  EXPECT_FALSE(link->ready());
  EXPECT_EQ(submit_picture(*link, 3).code(), Code::kUnavailable);
}

TEST(Acceptor, ReadinessReachesThoseThatComeLater) {
  Exchange exchange(1);
  exchange.hub->set_ready(true);
  const auto link = exchange.link(0);
  EXPECT_TRUE(exchange.eventually([&] { return link->poll().empty() && link->ready(); }));
  EXPECT_TRUE(link->greeted());
  exchange.hub->set_ready(false);
  EXPECT_TRUE(exchange.eventually([&] { return link->poll().empty() && !link->ready(); }));
}

// One wake-up of the hub's thread can stand for several things said to it.
TEST(Acceptor, WhatIsSaidWhileTheHubIsAwakeIsHeardToo) {
  Exchange exchange(1);
  for (int round = 0; round < 3000; ++round) {
    const bool ready = round % 2 == 0;
    std::thread other([&] { exchange.hub->set_ready(ready); });
    const auto link = exchange.link(0);
    other.join();
    ASSERT_TRUE(exchange.eventually([&] {
      return link->poll().empty() && link->greeted() && link->ready() == ready;
    })) << round;
    exchange.hub->detach(0);
    ASSERT_TRUE(exchange.eventually([&] { return link->poll().empty() && !link->connected(); })) << round;
  }
}

// A link whose other end the test holds.
class LoneLink {
 public:
  explicit LoneLink(std::size_t most_unsent_bytes = 1 << 20) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    make_small(ends[1]);
    end = Descriptor(ends[0]);
    LinkOptions options = link_options(ends[1], *arena_);
    options.most_unsent_bytes = most_unsent_bytes;
    link = AcceptorLink::create(std::move(options)).value();
  }
  // Takes what has arrived; how many bytes, 0: the link is gone, -1: nothing yet.
  ssize_t read() const {
    std::array<std::uint8_t, 1 << 16> bytes;
    return recv(end.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
  }

  Descriptor end;
  std::unique_ptr<AcceptorLink> link;

 private:
  const std::shared_ptr<SharedRegion> arena_ = SharedRegion::anonymous(kSmallArena).value();
};

TEST(AcceptorLink, ASchedulerThatTakesNothingIsSpared) {
  const LoneLink lone(1000);
  std::uint64_t id = 0;
  Status taken;
  while (taken.ok() && id < 500) taken = submit_picture(*lone.link, ++id);
  EXPECT_EQ(taken.code(), Code::kOverloaded);
  EXPECT_NE(taken.message().find("does not keep up"), std::string::npos) << taken.message();
  while (lone.read() > 0) EXPECT_TRUE(lone.link->poll().empty());
  EXPECT_TRUE(submit_picture(*lone.link, id).ok());
}

TEST(AcceptorLink, WhoTalksNonsenseIsHungUpOn) {
  const LoneLink lone;
  const acceptor::Header nonsense{99, 0};
  ASSERT_EQ(send(lone.end.get(), &nonsense, sizeof nonsense, MSG_NOSIGNAL),
            static_cast<ssize_t>(sizeof nonsense));
  EXPECT_TRUE(lone.link->poll().empty());
  EXPECT_FALSE(lone.link->connected());
  EXPECT_EQ(lone.read(), 0);
}

TEST(AcceptorLink, HubAndLinkServeFrom1To32Ensembles) {
  const Bench bench(with_acceptors(1));
  const auto arena = SharedRegion::anonymous(kSmallArena).value();
  for (const std::size_t count : {0, 33}) {
    HubOptions hub;
    hub.ensembles.resize(count, "image@test");
    EXPECT_EQ(AcceptorHub::create(*bench.scheduler, hub).status().code(), Code::kInvalidArgument);
    LinkOptions options = link_options(-1, *arena);
    options.ensembles.resize(count, image_ensemble());
    EXPECT_EQ(AcceptorLink::create(options).status().code(), Code::kInvalidArgument);
  }
}

TEST(AcceptorLink, WhatWouldEndTheConnectionIsNotSent) {
  const LoneLink lone;
  const auto data = picture(1);
  AcceptorLink::Part part;
  part.ticket = 1;
  part.data = data;
  EXPECT_EQ(lone.link->submit(part).code(), Code::kInvalidArgument);  // no ensemble
  part.ensembles = kPictures;
  for (const std::uint32_t frames : {0U, kMaxPlannedFrames + 1}) {
    part.plan.max_frames = frames;
    EXPECT_EQ(lone.link->submit(part).code(), Code::kInvalidArgument) << frames;
  }
  EXPECT_EQ(lone.read(), -1);
}

}  // namespace
}  // namespace floodgate
