// The server's end of a zygote: a small process that forks decode workers and tells how they ended.
//
// A decoder program loads and warms up its codec libraries once (100 ms) and forks from there (under a
// millisecond). It asks for no content and gets none. One worker is always forked ahead. Workers are the
// zygote's children, so their ids stay theirs until reap(), and whatever is done to one from here by id or
// pidfd meets the right process. When a zygote dies, its workers die with it, and it is of no more use:
// dead() says so and whoever holds it starts another. Thread rule: any thread at once; calls wait for one
// another, fork and reap being short. Refused: another build's decoder.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <optional>

#include "descriptor.h"
#include "floodgate/decode_worker.h"
#include "wire.h"

namespace floodgate::sandbox {

// A forked worker that has not been listened to yet.
struct Forked {
  pid_t pid = 0;
  Descriptor pidfd;
  Descriptor socket;
};

class Zygote {
 public:
  // Errors: kInvalidArgument (no such program), kUnavailable (cannot be started; says why).
  static Result<std::shared_ptr<Zygote>> start(const SandboxOptions& options);
  // Ends the process and its workers, and collects it.
  ~Zygote();
  Zygote(const Zygote&) = delete;
  Zygote& operator=(const Zygote&) = delete;

  // Errors: kUnavailable (the zygote is dead, or no process is to be had).
  Result<Forked> take();
  // How a worker ended; nothing when the zygote is gone, and the worker by its fault. REQUIRES: the worker
  // was killed.
  std::optional<Reply> reap(pid_t pid);
  [[nodiscard]] bool dead() const;

 private:
  Zygote(pid_t pid, Descriptor pidfd, Descriptor control)
      : pid_(pid), pidfd_(std::move(pidfd)), control_(std::move(control)) {}
  bool ask_locked(const Request& request);
  // The next reply of this kind; one of the other kind that comes first is put aside.
  std::optional<Reply> await_locked(Request::Kind kind);

  // Constant after construction.
  const pid_t pid_;
  const Descriptor pidfd_;
  Descriptor control_;

  mutable std::mutex mu_;
  // Guarded by mu_.
  bool dead_ = false;
  bool asked_ = false;           // a fork was asked for and its reply has not been read
  std::optional<Forked> spare_;  // read ahead of its time
  int fork_error_ = 0;
};

}  // namespace floodgate::sandbox
