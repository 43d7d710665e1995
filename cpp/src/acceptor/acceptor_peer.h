// One connected acceptor, as the hub's thread serves it: its socket, and the tickets that it has open.
//
// Tickets get numbers of the hub's choosing, so that acceptors cannot meet each other's. Answers and releases
// come from the scheduler's threads, under its lock, and are only put down there; the hub's thread passes
// them on. Thread rule: answered(), released(), state() from any thread, the rest from the hub's thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "floodgate/acceptor_hub.h"
#include "message_stream.h"

namespace floodgate::acceptor {

// An eventfd that several hold.
class Bell {
 public:
  static Result<std::shared_ptr<Bell>> make();
  explicit Bell(Descriptor fd) : fd_(std::move(fd)) {}
  [[nodiscard]] int fd() const { return fd_.get(); }
  void ring() const;
  void silence() const;

 private:
  const Descriptor fd_;
};

class Peer final : public Submitter, public std::enable_shared_from_this<Peer> {
 public:
  Peer(std::size_t acceptor, std::shared_ptr<Bell> bell, Descriptor socket)
      : acceptor_(acceptor), bell_(std::move(bell)), stream_(std::move(socket), kMostRequestBytes) {}

  void answered(Done done) override;
  void released(std::uint64_t ticket, bool over, const std::optional<Sha256>& digest) override;

  [[nodiscard]] int socket() const { return stream_.socket(); }
  // Takes what has arrived to the scheduler. False: it is to be disconnected; reason() says why.
  bool read(Scheduler& scheduler, const HubOptions& options, std::uint64_t& next_ticket);
  // Sends what has come about. False: the other end is gone.
  bool write(std::span<const std::string> ensembles, bool ready);
  // Cancels what is open; nothing is read or sent any more.
  void disconnect(Scheduler& scheduler);
  [[nodiscard]] const std::string& reason() const { return reason_; }

  // What its socket has no room for.
  [[nodiscard]] std::size_t unsent_bytes() const { return stream_.unsent(); }
  // Nobody knows its tickets any more, nor reads its arena.
  [[nodiscard]] bool quiet() const { return held_.load() == 0; }
  [[nodiscard]] bool connected() const { return connected_.load(); }
  [[nodiscard]] AcceptorState state() const;

  // Asked for by detach().
  std::atomic<bool> unwanted = false;
  // What epoll looks for; the hub's.
  std::uint32_t watched = 0;

 private:
  struct Ticket {
    std::uint64_t theirs = 0;
    bool answered = false;
    bool released = false;
  };
  using Tickets = std::unordered_map<std::uint64_t, Ticket>;

  bool handle(const MessageStream::Message& message, Scheduler& scheduler, const HubOptions& options,
              std::uint64_t& next_ticket);
  bool submit(const SubmitFields& fields, Scheduler& scheduler, const HubOptions& options,
              std::uint64_t& next_ticket);
  void forget_if_over(Tickets::iterator ticket);
  bool fail(std::string reason);
  void ring_locked();

  const std::size_t acceptor_;
  const std::shared_ptr<Bell> bell_;

  // The hub's thread's own.
  MessageStream stream_;
  Tickets tickets_;                                        // by our number
  std::unordered_map<std::uint64_t, std::uint64_t> ours_;  // our number by theirs, while unanswered
  std::vector<std::uint8_t> text_;
  std::string reason_;
  int said_ready_ = -1;  // -1: nothing yet

  std::atomic<bool> connected_ = true;
  std::atomic<std::uint64_t> submitted_ = 0;
  std::atomic<std::uint64_t> refused_ = 0;
  std::atomic<std::uint64_t> open_ = 0;
  std::atomic<std::uint64_t> held_ = 0;
  std::atomic<std::uint64_t> unsent_bytes_ = 0;

  std::mutex mu_;
  // Guarded by mu_.
  std::vector<Done> answers_;
  std::vector<std::pair<std::uint64_t, std::optional<Sha256>>> releases_;
  bool rung_ = false;  // the thread will look at them anyway
};

}  // namespace floodgate::acceptor
