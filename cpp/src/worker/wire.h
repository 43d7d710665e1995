// What server, zygote and workers tell one another. Plain data; one message each.
//
//     server -> zygote   Setup, an ArenaBytes for each arena (with its descriptor), then Requests
//     zygote -> server   Ready, then one Reply a Request, in order
//     worker -> server   Hello, then one DecodeResult a kRun order
//     server -> worker   Orders (kMap with the region's descriptor)
//
// What the zygote and a worker's Hello say is trusted: neither has seen a byte of anybody's content. Every
// DecodeResult is not; see result_check.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "floodgate/job.h"

namespace floodgate::sandbox {

inline constexpr std::uint32_t kProtocol = 2;
inline constexpr int kControlDescriptor = 3;      // the only one that zygote and worker start with
inline constexpr std::size_t kMaxReason = 160;    // NUL included
inline constexpr std::uint32_t kMaxRegions = 64;  // that a worker has mapped at once
inline constexpr int kExitOutOfMemory = 77;       // a worker that crashed for want of address space

struct Setup {
  std::uint32_t protocol = kProtocol;
  std::uint32_t job_bytes = sizeof(DecodeJob);
  std::uint32_t result_bytes = sizeof(DecodeResult);
  bool faults = false;
  std::uint32_t arenas = 0;  // at least 1
  std::uint64_t memory_bytes = 0;
};

struct ArenaBytes {
  std::uint64_t bytes = 0;
};

// `reason` says in words what failed; empty: nothing did.
struct Ready {
  char reason[kMaxReason] = {};
};

struct Hello {
  char reason[kMaxReason] = {};
  std::uint64_t address_space_bytes = 0;  // the limit that it starts with
};

struct Request {
  enum class Kind : std::uint8_t {
    kFork = 1,  // a new worker
    kReap,      // wait for `pid`, which must be dead or dying
  };
  Kind kind = Kind::kFork;
  std::int32_t pid = 0;
};

// To kFork: with the worker's pidfd and its socket, unless `error` is not 0.
struct Reply {
  Request::Kind kind = Request::Kind::kFork;
  std::int32_t pid = 0;
  std::int32_t error = 0;  // errno
  bool signalled = false;  // kReap: `ended_by` is a signal, else an exit code
  std::int32_t ended_by = 0;
};

struct Order {
  enum class Kind : std::uint8_t {
    kMap = 1,  // region `slot` is `bytes` of the descriptor that comes along
    kUnmap,
    kRun,
  };
  Kind kind = Kind::kRun;
  std::uint32_t slot = 0;
  std::uint64_t bytes = 0;
  DecodeJob job;  // RowTarget::region is a slot; sent only as far as its targets go
};

static_assert(std::is_trivially_copyable_v<Order> && std::is_standard_layout_v<Order>);

// Bytes of an order with `targets` rows, and of one that is no job.
constexpr std::size_t order_bytes(std::size_t targets) {
  return offsetof(Order, job) + offsetof(DecodeJob, targets) + targets * sizeof(RowTarget);
}
inline constexpr std::size_t kPlainOrderBytes = offsetof(Order, job);

}  // namespace floodgate::sandbox
