#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "decoder.h"
#include "worker/channel.h"

namespace floodgate::decoder {
namespace {

using sandbox::Order;
using sandbox::Received;

// Its socket, and nothing else.
bool keep_only(int socket) {
  if (socket != sandbox::kControlDescriptor &&
      dup3(socket, sandbox::kControlDescriptor, O_CLOEXEC) != sandbox::kControlDescriptor) {
    return false;
  }
  return close_range(0, sandbox::kControlDescriptor - 1, 0) == 0 &&
         close_range(sandbox::kControlDescriptor + 1, ~0U, 0) == 0;
}

class Worker {
 public:
  explicit Worker(const Inheritance& inheritance) : inheritance_(inheritance) {}

  // Until the server is gone.
  void serve() {
    for (;;) {
      std::array<Descriptor, sandbox::kMaxDescriptors> descriptors;
      std::size_t bytes = sizeof order_;
      if (sandbox::receive(sandbox::kControlDescriptor, &order_, bytes, descriptors) != Received::kMessage) {
        return;
      }
      switch (order_.kind) {
        case Order::Kind::kMap:
          map(descriptors[0].get());
          break;
        case Order::Kind::kUnmap:
          unmap();
          break;
        case Order::Kind::kRun: {
          const DecodeResult result = run();
          if (!sandbox::send(sandbox::kControlDescriptor, &result, sizeof result)) return;
          break;
        }
      }
    }
  }

 private:
  DecodeResult run() {
    const ArenaBlock& input = order_.job.input;
    const auto arena = inheritance_.arena;
    if (inheritance_.setup.faults && input.offset <= arena.size() &&
        input.size <= arena.size() - input.offset) {
      obey_fault(arena.subspan(input.offset, input.size), arena);
    }
    for (std::uint32_t i = 0; i < std::min<std::uint32_t>(order_.job.target_count, kMaxTargets); ++i) {
      populate(order_.job.targets[i]);
    }
    try {
      return runner_.run(order_.job, arena, regions_);
    } catch (const std::bad_alloc&) {
      DecodeResult result;
      result.code = Code::kOverloaded;
      constexpr char kText[] = "there is no memory to decode it";
      std::memcpy(result.message, kText, sizeof kText);
      return result;
    }
  }

  // A job that names a region which could not be mapped is refused by the runner.
  void map(int descriptor) {
    if (order_.slot >= regions_.size()) return;
    void* base = mmap(nullptr, order_.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (base == MAP_FAILED) return;
    regions_[order_.slot] = {static_cast<std::uint8_t*>(base), order_.bytes};
    populated_[order_.slot].assign(order_.bytes / kPopulatedBytes + 1, false);
  }

  void unmap() {
    if (order_.slot >= regions_.size() || regions_[order_.slot].empty()) return;
    munmap(regions_[order_.slot].data(), regions_[order_.slot].size());
    regions_[order_.slot] = {};
  }

  // Has the kernel map a row's pages in one call, the first time that this worker is to fill it: a worker
  // that takes another's place would otherwise fault them in one by one.
  // Only a hint: what is refused (kernels before 5.14) is faulted in, and a target that does not fit is the
  // runner's to refuse.
  void populate(const RowTarget& target) {
    if (target.region >= regions_.size()) return;
    const auto region = regions_[target.region];
    if (target.offset > region.size() || target.bytes > region.size() - target.offset) return;
    auto& done = populated_[target.region];
    for (std::size_t i = target.offset / kPopulatedBytes; i * kPopulatedBytes < target.offset + target.bytes;
         ++i) {
      if (done[i]) continue;
      done[i] = true;
      const std::size_t begin = i * kPopulatedBytes;
      (void)madvise(region.data() + begin, std::min(kPopulatedBytes, region.size() - begin),
                    MADV_POPULATE_WRITE);
    }
  }

  static constexpr std::size_t kPopulatedBytes = 64 << 10;

  const Inheritance& inheritance_;
  DecodeRunner runner_;
  Order order_;
  std::array<std::span<std::uint8_t>, sandbox::kMaxRegions> regions_;
  std::array<std::vector<bool>, sandbox::kMaxRegions> populated_;  // by kPopulatedBytes of a region
};

}  // namespace

void run_worker(const Inheritance& inheritance, int socket) {
  sandbox::Hello hello;
  std::string why;
  if (!keep_only(socket)) _exit(1);
  const bool confined = confine(inheritance, hello.address_space_bytes, why);
  std::memcpy(hello.reason, why.data(), std::min(why.size(), sizeof hello.reason - 1));
  if (sandbox::send(sandbox::kControlDescriptor, &hello, sizeof hello) && confined) {
    static_assert(sizeof(Worker) < 64U << 10, "lives on the stack");
    Worker(inheritance).serve();
  }
  _exit(0);
}

}  // namespace floodgate::decoder
