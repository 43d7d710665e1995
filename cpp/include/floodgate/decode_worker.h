// Where decode jobs run: on a thread of this process, or in a sandboxed process of their own.
//
// A DecodeWorker runs one job at a time for the scheduler's decode thread that owns it, and blocks that
// thread until the result is in. It never fails a job without a reason: a worker process that crashed, hung
// or met a limit is replaced, and its job's result says so (`worker_lost`). Thread rule: one worker, one
// thread; a DecodeWorkers may be asked for workers from any thread and outlives them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "floodgate/arena_space.h"
#include "floodgate/device.h"
#include "floodgate/job.h"
#include "floodgate/shared_region.h"
#include "floodgate/status.h"

namespace floodgate {

class DecodeWorker {
 public:
  virtual ~DecodeWorker() = default;

  // regions[i] is what RowTarget::region i means.
  virtual DecodeResult run(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions) = 0;

  // Called when the worker has nothing to do: lets go of memory of regions that nobody else holds.
  virtual void idle() {}
};

// Why worker processes ended before their time, counted. `signals[n]`: killed by signal n of their own doing
// (SIGSEGV 11, SIGSYS 31: a system call that the sandbox does not allow).
struct WorkerLosses {
  std::uint64_t crashed = 0;      // any signal but the ones below
  std::uint64_t forbidden = 0;    // tried a system call that the sandbox does not allow
  std::uint64_t hung = 0;         // no result in time, and little CPU used
  std::uint64_t over_cpu = 0;     // used more than MediaLimits::max_cpu_ms
  std::uint64_t over_memory = 0;  // ran into the address-space limit
};

class DecodeWorkers {
 public:
  virtual ~DecodeWorkers() = default;
  // Errors: kUnavailable (no process can be started).
  virtual Result<std::unique_ptr<DecodeWorker>> make_worker() = 0;
  [[nodiscard]] virtual WorkerLosses losses() const { return {}; }
};

// Workers that decode on the calling thread. REQUIRES: `arena` outlives them.
std::unique_ptr<DecodeWorkers> thread_workers(std::span<const std::uint8_t> arena, DecodeFn decode);

// Workers that take pictures to a device first and leave to `others` whatever it does not do; rows that those
// make are copied to the device where their region is mirrored there. What lies in `arena` from `own_bytes`
// on others may change at any time: the device, which reads in this process and more than once, is given a
// copy. REQUIRES: `arena` outlives them.
std::unique_ptr<DecodeWorkers> device_workers(std::shared_ptr<Device> device,
                                              std::unique_ptr<DecodeWorkers> others,
                                              std::span<const std::uint8_t> arena, std::uint64_t own_bytes);

struct SandboxOptions {
  std::string program;  // path of floodgate-decoder; floodgate-picture-decoder stands beside it
  int arena_fd = -1;    // mapped read-only by every worker
  std::uint64_t arena_bytes = 0;
  std::vector<ArenaPiece> more_arenas;      // likewise, one after the other (see arena_space.h)
  std::uint64_t memory_bytes = 1ULL << 30;  // address space of a worker beyond the arena and the buffers
  std::uint32_t hang_ms =
      5'000;  // a job that takes so much longer than its CPU time and is not done has hung
  bool faults =
      false;  // obey "floodgate-fault:" marks in the content (crash, hang, open, socket, …): for tests
};

// Workers in sandboxed processes (Linux: seccomp-bpf, resource limits, no descriptors but the arena and the
// buffers). Errors: kInvalidArgument (no such program), kUnavailable (cannot be started, no seccomp; says
// why).
Result<std::unique_ptr<DecodeWorkers>> sandboxed_workers(const SandboxOptions& options);

}  // namespace floodgate
