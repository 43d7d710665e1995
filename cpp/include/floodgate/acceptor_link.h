// A scheduler in another process, as the process that accepts requests sees it.
//
// The link probes what is submitted, copies it once into an arena of this process's own, which the
// scheduler's process reads, and sends the rest as plain data over a socket; answers come back the same way.
// It owns the socket, the arena and the blocks of open tickets, each until the scheduler says that nobody
// reads it any more. Once the other process is gone every open ticket is answered kUnavailable. Thread rule:
// one thread at a time; fd() is for that thread's event loop. Nothing waits. Refused: see submit().
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "floodgate/batch.h"
#include "floodgate/scheduler.h"
#include "floodgate/status.h"

namespace floodgate {

struct LinkOptions {
  int socket = -1;    // a connected stream socket; the link's from create() on, whatever comes of it
  int arena_fd = -1;  // likewise; sealed shared memory that nobody else writes to
  std::uint64_t arena_bytes = 0;
  std::vector<EnsembleConfig> ensembles;  // what the scheduler serves, in the hub's order
  double live_reserve = kLiveReserve;     // as SchedulerOptions has it
  MediaLimits media_limits;
  std::uint64_t max_text_bytes = 1 << 20;
  ProbeFn probe;  // empty: floodgate::probe
  // Thousands of submissions: a scheduler's process that has not taken so much does not keep up.
  std::size_t most_unsent_bytes = 1 << 20;
};

struct LinkStats {
  std::uint64_t bytes_received = 0;  // of what was refused here
  std::array<std::uint64_t, static_cast<std::size_t>(kLastCode) + 1> refused = {};  // here, by Code
  std::uint64_t arena_used_bytes = 0;
  std::uint64_t open_tickets = 0;
};

class AcceptorLink {
 public:
  // Errors: kInvalidArgument (an option), kUnavailable (no memory, no descriptor).
  static Result<std::unique_ptr<AcceptorLink>> create(LinkOptions options);
  ~AcceptorLink();
  AcceptorLink(const AcceptorLink&) = delete;
  AcceptorLink& operator=(const AcceptorLink&) = delete;

  struct Part {
    std::uint64_t ticket = 0;     // must not be that of an open one
    std::uint32_t ensembles = 0;  // bit i: the i-th
    Modality modality = Modality::kImage;
    std::span<const std::uint8_t> data;  // borrowed for the call, copied once
    SamplingPlan plan;
    Lane lane = Lane::kStandard;
    Nanos deadline_ns = kNever;
  };
  // Probes, copies once and sends; what the scheduler refuses is told by poll(). Errors, and no Done follows:
  // kInvalidContent, kUnsupported, kTooLarge, kDeadlineExceeded (passed already), kOverloaded (the arena is
  // full, or the scheduler's process does not keep up), kInvalidArgument (ticket open, no ensemble, no
  // frame), kUnavailable (the other process is gone).
  Status submit(const Part& part);

  // Withdraws a ticket: its Done, whatever it is, still comes.
  void cancel(std::uint64_t ticket);

  // One Done for every ticket that submit() took, in the order they came about. `Done::retry_after_ns` goes
  // with a refusal, which has neither info nor rows.
  std::vector<Done> poll();

  [[nodiscard]] bool connected() const;  // false once the other process is gone
  [[nodiscard]] bool ready() const;      // what it last said of its inference server; false once it is gone
  [[nodiscard]] bool greeted() const;    // it has said so at least once
  // Readable while there may be something to poll. Never read or close it.
  [[nodiscard]] int fd() const;
  [[nodiscard]] LinkStats stats() const;

 private:
  class Impl;
  explicit AcceptorLink(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace floodgate
