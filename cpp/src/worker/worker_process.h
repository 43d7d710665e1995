// One sandboxed worker process as the server sees it: its regions, its limits, its end.
//
// Whatever a WorkerProcess needs of its process it asks the kernel (CPU time, waiting time, the address-space
// limit), never the process. Thread rule: one thread at a time. Memory: holds no region; it remembers which
// ones the process has mapped and has them unmapped once nobody here holds them.
#pragma once

#include <sched.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "descriptor.h"
#include "floodgate/decode_worker.h"
#include "zygote.h"

namespace floodgate::sandbox {

// What became of one job.
enum class Outcome : std::uint8_t {
  kAnswered,  // there is a result, not yet checked
  kNotTaken,  // the process was gone before it could take the job
  kDied,      // in the middle of it
  kNonsense,  // sent what is no result
  kHung,      // was killed: no result in time
  kOverCpu,   // was killed: too much CPU time
};

class WorkerProcess {
 public:
  // Waits until the process has confined itself. Errors: kUnavailable (it could not; says why).
  static Result<std::unique_ptr<WorkerProcess>> start(std::shared_ptr<Zygote> zygote, Nanos hang_ns);
  // Kills and collects the process.
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  // Has the process begin its next job on the processor that the caller runs on; from then on it goes where
  // the kernel likes. For one that takes another's place: woken where it was forked, it may share a core with
  // a neighbour for ten milliseconds while its predecessor's is idle. Only a hint.
  void begin_here();
  // After anything but kAnswered the process is of no more use: end() it. `result`: its answer, and the time
  // it took as measured here.
  Outcome run(const DecodeJob& job, std::span<const std::shared_ptr<SharedRegion>> regions,
              DecodeResult& result);
  // Has regions unmapped that nobody holds any more.
  void tidy();
  // Kills it if need be. Nothing when the zygote is gone, so that nobody knows.
  std::optional<Reply> end();
  [[nodiscard]] std::uint32_t jobs() const { return jobs_; }

 private:
  struct Mapped {
    std::weak_ptr<SharedRegion> region;
    std::uint64_t bytes = 0;  // 0: the slot is free
    std::uint64_t last_job = 0;
  };
  WorkerProcess(std::shared_ptr<Zygote> zygote, Forked forked, Nanos hang_ns)
      : zygote_(std::move(zygote)), forked_(std::move(forked)), hang_ns_(hang_ns) {}
  Status greet();
  bool limit_address_space() const;
  // The slot of a region, mapped if it was not. False: the process is gone.
  bool place(const std::shared_ptr<SharedRegion>& region, std::uint32_t& slot);
  bool unmap(std::uint32_t slot);
  Outcome await(const DecodeJob& job, Nanos start, DecodeResult& result);
  [[nodiscard]] Nanos cpu_now() const;

  // Constant after start().
  const std::shared_ptr<Zygote> zygote_;
  const Forked forked_;
  const Nanos hang_ns_;
  clockid_t cpu_clock_ = 0;
  std::uint64_t own_bytes_ = 0;  // of address space, without regions

  std::optional<cpu_set_t> processors_;  // its own, while it is held to one
  std::vector<Mapped> mapped_;
  std::uint64_t mapped_bytes_ = 0;
  Nanos cpu_mark_ = 0;  // its CPU time when the last job was done
  std::uint32_t jobs_ = 0;
  bool ended_ = false;
};

}  // namespace floodgate::sandbox
