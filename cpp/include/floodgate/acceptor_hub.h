// The scheduler's end of its acceptors: processes that take requests and submit their parts from arenas of
// their own.
//
// One thread reads what they submit, hands it to the scheduler and sends the answers back; no event loop of
// the embedding process is involved. An acceptor that is gone, or says what no sound one would, is
// disconnected: its tickets are cancelled, and its arena is theirs alone until nobody reads it any more
// (`held`), before another process may have it. Owns its thread and the sockets. REQUIRES: the scheduler
// outlives it. Thread rule: every member may be called from any thread at once; none waits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "floodgate/scheduler.h"
#include "floodgate/status.h"

namespace floodgate {

struct HubOptions {
  std::vector<std::string> ensembles;  // what the scheduler serves, in the order in which acceptors know it
  MediaLimits media_limits;            // the scheduler's
  std::uint64_t max_text_bytes = 1 << 20;
  // Answers that an acceptor leaves unread, from which on nothing more is taken from it.
  std::size_t most_unsent_bytes = 16 << 20;
};

// What is known of one acceptor. Counters are of all processes that were it.
struct AcceptorState {
  bool connected = false;
  std::string reason;              // why the last one is not any more; empty: none was, or it left by itself
  std::uint64_t submitted = 0;     // tickets that the scheduler took from it
  std::uint64_t refused = 0;       // and refused
  std::uint64_t open = 0;          // tickets that are not answered
  std::uint64_t held = 0;          // tickets whose bytes somebody may still read, or that are not answered
  std::uint64_t unsent_bytes = 0;  // told it, but its socket has no room
};

class AcceptorHub {
 public:
  // For as many acceptors as the scheduler has foreign arenas. REQUIRES: the scheduler is configured with
  // `ensembles`, and is not configured again while the hub lives. Errors: kInvalidArgument (no arena, no
  // ensemble or more than kMaxEnsembles), kUnavailable (no descriptor, no thread).
  static Result<std::unique_ptr<AcceptorHub>> create(Scheduler& scheduler, HubOptions options);
  // Disconnects all.
  ~AcceptorHub();
  AcceptorHub(const AcceptorHub&) = delete;
  AcceptorHub& operator=(const AcceptorHub&) = delete;

  // `acceptor` is connected from now on through `socket`, which is the hub's whatever comes of it. Errors:
  // kInvalidArgument (no such acceptor), kUnavailable (it is connected, or its arena is still being read).
  Status attach(std::size_t acceptor, int socket);
  // Disconnects it, if it is not gone already.
  void detach(std::size_t acceptor);

  // Tells every acceptor, those to come too, whether the inference server is ready.
  void set_ready(bool ready);

  [[nodiscard]] std::vector<AcceptorState> states() const;

 private:
  class Impl;
  explicit AcceptorHub(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace floodgate
