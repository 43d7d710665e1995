// What must hold whatever an acceptor's process does, and whatever it is sent.
#include <algorithm>
#include <random>

#include "acceptor/message.h"
#include "acceptor_harness.h"
#include "worker/descriptor.h"

namespace floodgate {
namespace {

using namespace testing;  // NOLINT(google-build-using-namespace)
using acceptor::Kind;
using acceptor::SubmitFields;

SubmitFields sound_fields() {
  SubmitFields fields;
  fields.ticket = 1;
  fields.size = 9;
  fields.deadline_ns = kNever;
  fields.max_frames = 1;
  fields.ensembles = kPictures;
  fields.modality = static_cast<std::uint8_t>(Modality::kImage);
  fields.lane = static_cast<std::uint8_t>(Lane::kStandard);
  MediaInfo info;
  info.width = info.height = 2;
  fields.info = acceptor::fields_of(info);
  return fields;
}

void send_all(int socket, const void* bytes, std::size_t size) {
  ASSERT_EQ(send(socket, bytes, size, MSG_NOSIGNAL), static_cast<ssize_t>(size));
}

void send_submit(int socket, const SubmitFields& fields) {
  std::vector<std::uint8_t> out;
  acceptor::Packer(out).submit(fields);
  send_all(socket, out.data(), out.size());
}

using Spoil = std::function<void(SubmitFields&)>;

TEST(AcceptorPeer, ASubmissionThatIsNotSoundEndsTheConnectionAndNothingElse) {
  constexpr std::uint64_t kMost = UINT64_MAX;
  const std::vector<Spoil> spoils = {
      [](auto& fields) { fields.size = 0; },
      [](auto& fields) { fields.size = kSmallArena + 1; },
      [](auto& fields) { fields.offset = kSmallArena; },
      [](auto& fields) { fields.offset = kMost; },
      [](auto& fields) { fields.size = kMost; },
      [](auto& fields) { fields.offset = kMost - 7; },
      [](auto& fields) { fields.ensembles = 0; },
      [](auto& fields) { fields.ensembles = 4; },
      [](auto& fields) { fields.ensembles = UINT32_MAX; },
      [](auto& fields) { fields.max_frames = 0; },
      [](auto& fields) { fields.max_frames = kMaxPlannedFrames + 1; },
      [](auto& fields) { fields.lane = 0; },
      [](auto& fields) { fields.lane = 200; },
      [](auto& fields) { fields.modality = 0; },
      [](auto& fields) { fields.modality = 77; },
      [](auto& fields) { fields.info.format = 0; },
      [](auto& fields) { fields.info.format = 255; },
      [](auto& fields) { fields.info.width = 0; },
      [](auto& fields) { fields.info.width = UINT32_MAX; },
      [](auto& fields) { fields.info.width = fields.info.height = 60'000; },
      [](auto& fields) { fields.info.orientation = 9; },
      [](auto& fields) { fields.info.undo = 0; },
      [](auto& fields) { fields.info.has_alpha = 2; },
      [](auto& fields) { fields.info.progressive = 255; },
      [](auto& fields) { fields.info.channels = 0; },
      [](auto& fields) { fields.info.bits = 0; },
      [](auto& fields) { fields.info.decode_cost_ns = -1; },
      [](auto& fields) { fields.info.decode_cost_ns = INT64_MAX; },
      [](auto& fields) {
        fields.modality = static_cast<std::uint8_t>(Modality::kText);
        fields.ensembles = UINT32_MAX;
      },
  };
  Exchange exchange(2);
  const auto neighbour = exchange.link(1);
  for (std::size_t i = 0; i < spoils.size(); ++i) {
    const Descriptor peer(exchange.connect(0));
    SubmitFields fields = sound_fields();
    spoils[i](fields);
    send_submit(peer.get(), fields);
    ASSERT_TRUE(exchange.eventually([&] { return !exchange.state(0).connected; })) << i;
    EXPECT_FALSE(exchange.state(0).reason.empty()) << i;
    ASSERT_TRUE(exchange.eventually([&] { return exchange.state(0).held == 0; })) << i;
  }
  EXPECT_EQ(exchange.state(0).submitted, 0U);
  ASSERT_TRUE(submit_picture(*neighbour, 1).ok());
  EXPECT_EQ(exchange.serve(*neighbour, 1).at(1).code, Code::kOk);
}

TEST(AcceptorPeer, ASoundSubmissionIsTaken) {
  Exchange exchange(1);
  const Descriptor peer(exchange.connect(0));
  const auto data = picture(9);
  std::ranges::copy(data, exchange.bench.scheduler->foreign_arenas()[0]->bytes().begin());
  send_submit(peer.get(), sound_fields());
  EXPECT_EQ(infer(exchange.bench.await_batch()).ids, std::vector<std::uint64_t>{9});
}

TEST(AcceptorPeer, ATicketUsedTwiceEndsTheConnectionAndCancelsTheFirst) {
  Exchange exchange(1);
  const Descriptor peer(exchange.connect(0));
  exchange.bench.scheduler->foreign_arenas()[0]->bytes()[0] = kGated;
  send_submit(peer.get(), sound_fields());
  exchange.bench.gate.await(1);
  send_submit(peer.get(), sound_fields());
  ASSERT_TRUE(
      exchange.eventually([&] { return !exchange.state(0).connected && exchange.state(0).open == 0; }));
  EXPECT_EQ(exchange.state(0).reason, "it used a ticket twice");
  exchange.bench.gate.open();
  exchange.expect_nothing_held(0);
}

TEST(AcceptorPeer, ATextThatIsNoTextEndsTheConnection) {
  Exchange exchange(1);
  const Descriptor peer(exchange.connect(0));
  std::ranges::fill(exchange.bench.scheduler->foreign_arenas()[0]->bytes(), std::uint8_t{0xFF});
  SubmitFields fields = sound_fields();
  fields.modality = static_cast<std::uint8_t>(Modality::kText);
  fields.ensembles = kTexts;
  send_submit(peer.get(), fields);
  ASSERT_TRUE(exchange.eventually([&] { return !exchange.state(0).connected; }));
  EXPECT_NE(exchange.state(0).reason.find("UTF-8"), std::string::npos) << exchange.state(0).reason;
  exchange.expect_nothing_held(0);
}

TEST(AcceptorPeer, ATextIsJudgedAsItWasWhenItWasChecked) {
  Exchange exchange(1);
  const auto link = exchange.link(0);
  ASSERT_TRUE(submit_picture(*link, 1, kGated).ok());
  exchange.bench.gate.await(1);
  const std::uint64_t by_picture = link->stats().arena_used_bytes;
  ASSERT_TRUE(submit_text(*link, 2, "hello world").ok());
  // Its bytes come back before any worker has had a look at it.
  ASSERT_TRUE(exchange.eventually(
      [&] { return link->poll().empty() && link->stats().arena_used_bytes == by_picture; }));
  std::ranges::fill(exchange.bench.scheduler->foreign_arenas()[0]->bytes().subspan(by_picture),
                    std::uint8_t{0xFF});
  exchange.bench.gate.open();
  std::vector<std::string> texts;
  while (texts.empty()) {
    const Batch batch = exchange.bench.await_batch();
    ASSERT_GT(batch.rows, 0U);
    texts = infer(batch).texts;
    exchange.bench.answer(batch);
  }
  EXPECT_EQ(texts, std::vector<std::string>{"hello world"});
  exchange.serve(*link, 2);
  exchange.expect_nothing_held(0);
}

TEST(AcceptorPeer, AMessageThatIsNoneEndsTheConnection) {
  Exchange exchange(1);
  const std::vector<acceptor::Header> headers = {
      {0, 0},
      {99, 8},
      {static_cast<std::uint32_t>(Kind::kAnswer), 0},
      {static_cast<std::uint32_t>(Kind::kSubmit), UINT32_MAX},
      {static_cast<std::uint32_t>(Kind::kSubmit), acceptor::kMostRequestBytes + 1},
      {static_cast<std::uint32_t>(Kind::kSubmit), 8},
      {static_cast<std::uint32_t>(Kind::kCancel), 0},
      {static_cast<std::uint32_t>(Kind::kCancel), 16},
  };
  for (const acceptor::Header& header : headers) {
    const Descriptor peer(exchange.connect(0));
    std::array<std::uint8_t, sizeof header + 32> bytes{};
    std::memcpy(bytes.data(), &header, sizeof header);
    send_all(peer.get(), bytes.data(), bytes.size());
    EXPECT_TRUE(exchange.eventually([&] { return !exchange.state(0).connected; })) << header.kind;
  }
}

TEST(AcceptorPeer, RandomBytesAndMessagesInPiecesLeaveNothingBehind) {
  Exchange exchange(2);
  const auto neighbour = exchange.link(1);
  std::mt19937_64 random(20261122);  // NOLINT(cert-msc51-cpp): the same every time
  for (int round = 0; round < 200; ++round) {
    const Descriptor peer(exchange.connect(0));
    std::vector<std::uint8_t> out;
    for (int i = 0; i < 8; ++i) {
      SubmitFields fields = sound_fields();
      fields.ticket = random() % 4;
      auto* bytes = reinterpret_cast<std::uint8_t*>(&fields);
      for (std::uint64_t flips = random() % 4; flips > 0; --flips) {
        bytes[random() % sizeof fields] = static_cast<std::uint8_t>(random());
      }
      acceptor::Packer(out).submit(fields);
      if (random() % 2 == 0) acceptor::Packer(out).cancel(random() % 4);
      if (random() % 8 == 0) out.push_back(static_cast<std::uint8_t>(random()));
    }
    for (std::size_t at = 0; at < out.size();) {
      const std::size_t piece = std::min<std::size_t>(1 + random() % 200, out.size() - at);
      if (send(peer.get(), out.data() + at, piece, MSG_NOSIGNAL) < 0) break;  // it has been disconnected
      at += piece;
    }
    for (const Batch& batch : std::exchange(exchange.bench.batches, {})) exchange.bench.answer(batch);
    exchange.hub->detach(0);
    ASSERT_TRUE(exchange.eventually([&] {
      for (const Batch& batch : std::exchange(exchange.bench.batches, {})) exchange.bench.answer(batch);
      return !exchange.state(0).connected && exchange.state(0).held == 0;
    })) << round;
  }
  ASSERT_TRUE(submit_picture(*neighbour, 1).ok());
  EXPECT_EQ(exchange.serve(*neighbour, 1).at(1).code, Code::kOk);
  EXPECT_TRUE(exchange.eventually([&] { return exchange.bench.scheduler->stats().open_tickets == 0; }));
}

TEST(AcceptorPeer, AnAnswerThatCannotBeReadEndsTheLink) {
  Exchange exchange(1);
  const auto whole = [] {
    std::vector<std::uint8_t> out;
    Done done;
    done.rows.resize(1);
    const auto config = std::make_shared<const EnsembleConfig>(image_ensemble());
    done.rows[0].scores.push_back({config, std::vector<float>(5, 1.0F), {}});
    const std::vector<std::string> names = {"image@test"};
    acceptor::Packer(out).answer(1, done, names);
    return std::vector<std::uint8_t>(out.begin() + sizeof(acceptor::Header), out.end());
  }();
  const acceptor::Ensembles ensembles = {std::make_shared<const EnsembleConfig>(image_ensemble())};
  ASSERT_TRUE(acceptor::read_answer(whole, ensembles).ok());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(acceptor::read_answer(std::span(whole).first(size), ensembles).ok()) << size;
  }
  std::mt19937_64 random(7);  // NOLINT(cert-msc51-cpp): the same every time
  for (int round = 0; round < 20'000; ++round) {
    auto spoiled = whole;
    for (int flips = 0; flips < 3; ++flips)
      spoiled[random() % spoiled.size()] = static_cast<std::uint8_t>(random());
    (void)acceptor::read_answer(spoiled, ensembles);
    (void)acceptor::read_refused(spoiled);
  }
}

}  // namespace
}  // namespace floodgate
