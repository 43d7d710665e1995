// A scheduler with acceptors: its hub and connected links, in this process, over real sockets and real shared
// memory.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "floodgate/acceptor_hub.h"
#include "floodgate/acceptor_link.h"
#include "scheduler_harness.h"

namespace floodgate::testing {

inline constexpr std::size_t kSmallArena = 64 << 10;
inline constexpr std::uint32_t kPictures = 1;  // the first ensemble
inline constexpr std::uint32_t kTexts = 2;

inline SchedulerOptions with_acceptors(std::size_t count, SchedulerOptions options = {}) {
  for (std::size_t i = 0; i < count; ++i) {
    options.foreign_arenas.push_back(SharedRegion::anonymous(kSmallArena).value());
  }
  return options;
}

inline LinkOptions link_options(int socket, const SharedRegion& arena) {
  LinkOptions options;
  options.socket = socket;
  options.arena_fd = fcntl(arena.fd(), F_DUPFD_CLOEXEC, 0);
  options.arena_bytes = kSmallArena;
  options.ensembles = {image_ensemble(), text_ensemble()};
  options.probe = probe_picture;
  return options;
}

// What is sent there waits in the sender as soon as a few kilobytes are unread.
inline void make_small(int socket) {
  const int least = 1;  // the kernel takes its own minimum
  EXPECT_EQ(setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
}

// A scheduler, its hub, and links as connected acceptors would have them.
class Exchange {
 public:
  explicit Exchange(std::size_t acceptors, SchedulerOptions options = {},
                    EnsembleConfig pictures = image_ensemble(), HubOptions hub_options = {})
      : bench(with_acceptors(acceptors, std::move(options)), {std::move(pictures), text_ensemble()}) {
    hub_options.ensembles = {"image@test", "text@test"};
    hub = AcceptorHub::create(*bench.scheduler, std::move(hub_options)).value();
  }

  // The other end of a new connection.
  int connect(std::size_t acceptor) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    if (small_sockets) make_small(ends[0]);
    const Status attached = hub->attach(acceptor, ends[0]);
    EXPECT_TRUE(attached.ok()) << attached.message();
    return ends[1];
  }
  std::unique_ptr<AcceptorLink> link(std::size_t acceptor) {
    return AcceptorLink::create(link_options(connect(acceptor), *bench.scheduler->foreign_arenas()[acceptor]))
        .value();
  }
  AcceptorState state(std::size_t acceptor) const { return hub->states()[acceptor]; }
  // Waits on nothing but the hub's thread, which has nothing else to wait for.
  bool eventually(const std::function<bool()>& reached) {
    const Nanos until = monotonic_now() + 20 * kSecond;
    while (!reached()) {
      if (monotonic_now() > until) return false;
      bench.pump();
      std::this_thread::yield();
    }
    return true;
  }
  // Answers whatever batch comes until the links have as many answers as are wanted, by ticket.
  std::map<std::uint64_t, Done> serve(AcceptorLink& link, std::size_t wanted) {
    std::map<std::uint64_t, Done> answers;
    EXPECT_TRUE(eventually([&] {
      for (const Batch& batch : std::exchange(bench.batches, {})) bench.answer(batch);
      for (Done& done : link.poll()) {
        EXPECT_FALSE(answers.contains(done.ticket)) << "a second answer to " << done.ticket;
        answers[done.ticket] = std::move(done);
      }
      return answers.size() >= wanted;
    })) << answers.size()
        << " answers of " << wanted;
    return answers;
  }
  void expect_nothing_held(std::size_t acceptor) {
    EXPECT_TRUE(eventually([&] { return state(acceptor).held == 0; }));
    EXPECT_EQ(state(acceptor).open, 0U);
    bench.expect_everything_free();
    const Status books = bench.scheduler->audit();
    EXPECT_TRUE(books.ok()) << books.message();
  }

  Bench bench;
  std::unique_ptr<AcceptorHub> hub;
  bool small_sockets = false;  // of connections to come: hold a few kilobytes that nobody has read
};

inline Status submit_picture(AcceptorLink& link, std::uint64_t id, char kind = kPlain,
                             Lane lane = Lane::kStandard, Nanos deadline = kNever, std::size_t padding = 0) {
  const auto data = picture(id, kind, padding);
  AcceptorLink::Part part;
  part.ticket = id;
  part.ensembles = kPictures;
  part.data = data;
  part.lane = lane;
  part.deadline_ns = deadline;
  return link.submit(part);
}

inline Status submit_text(AcceptorLink& link, std::uint64_t id, const std::string& text) {
  AcceptorLink::Part part;
  part.ticket = id;
  part.ensembles = kTexts;
  part.modality = Modality::kText;
  part.data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
  return link.submit(part);
}

}  // namespace floodgate::testing
