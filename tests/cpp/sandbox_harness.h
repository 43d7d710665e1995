// What the sandbox's tests share: jobs made from encoded bytes, and a look at processes and descriptors.
#pragma once

#include <dirent.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "encoded_pictures.h"
#include "floodgate/arena.h"
#include "floodgate/decode_worker.h"

namespace floodgate::testing {

inline constexpr std::size_t kArenaBytes = 8 << 20;

inline ImageView small_view() {
  ImageView view;
  view.width = view.height = 32;
  return view;
}

// A JPEG whose comment asks a decoder that obeys such marks to misbehave.
inline Data faulty(std::string_view fault) {
  Data comment;
  put_text(comment, "floodgate-fault:");
  put_text(comment, fault);
  return after_soi(jpeg(64, 48), jpeg_segment(0xFE, comment));
}

inline SandboxOptions sandbox_options() {
  SandboxOptions options;
  options.program = FLOODGATE_DECODER;
  options.faults = true;
  return options;
}

inline std::shared_ptr<SharedRegion> make_region(std::size_t bytes = 1 << 20) {
  static int serial = 0;
  return SharedRegion::named("/floodgate-test-" + std::to_string(getpid()) + "-" + std::to_string(++serial),
                             bytes)
      .value();
}

// An arena, a region of rows, and workers over them.
class Sandbox {
 public:
  explicit Sandbox(SandboxOptions options = sandbox_options()) : region(make_region()) {
    arena = Arena::create(kArenaBytes).value();
    options.arena_fd = arena->fd();
    options.arena_bytes = arena->capacity_bytes();
    auto made = sandboxed_workers(options);
    EXPECT_TRUE(made.ok()) << made.status().message();
    if (made.ok()) workers = std::move(made).value();
  }

  std::unique_ptr<DecodeWorker> worker() const { return workers->make_worker().value(); }

  // A job for `data`, which the arena holds until the harness ends.
  DecodeJob job(const Data& data, std::uint64_t row = 0) {
    auto lease = arena->allocate(data.size()).value();
    std::ranges::copy(data, arena->bytes(lease.block()).begin());
    DecodeJob job;
    job.input = lease.block();
    const auto info = probe(data, job.limits);
    EXPECT_TRUE(info.ok()) << info.status().message();
    if (info.ok()) job.info = info.value();
    job.target_count = 1;
    job.targets[0].view = small_view();
    job.targets[0].bytes = static_cast<std::uint32_t>(small_view().row_bytes());
    job.targets[0].offset = row * job.targets[0].bytes;
    leases_.push_back(std::move(lease));
    return job;
  }

  DecodeResult run(DecodeWorker& worker, const DecodeJob& job) const { return worker.run(job, {&region, 1}); }

  Data row(const DecodeJob& job) const {
    const auto bytes = region->bytes().subspan(job.targets[0].offset, job.targets[0].bytes);
    return {bytes.begin(), bytes.end()};
  }

  std::shared_ptr<Arena> arena;
  std::shared_ptr<SharedRegion> region;
  std::unique_ptr<DecodeWorkers> workers;

 private:
  std::vector<ArenaLease> leases_;
};

struct Process {
  int pid = 0;
  char state = '?';
};

// Children of `parent`, zombies included.
inline std::vector<Process> children_of(int parent) {
  std::vector<Process> children;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    std::string line;
    if (!std::getline(file, line)) continue;
    const auto name_end = line.rfind(')');
    if (name_end == std::string::npos) continue;
    std::istringstream rest(line.substr(name_end + 1));
    Process process;
    int ppid = 0;
    rest >> process.state >> ppid;
    process.pid = std::atoi(line.c_str());
    if (ppid == parent) children.push_back(process);
  }
  return children;
}

inline std::string process_name(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

// The only zygote among our children.
// Of the one for pictures. Throws when there is none: no signal may go to process 0.
inline int zygote_pid() {
  for (const Process& child : children_of(getpid())) {
    std::error_code unreadable;
    const auto program =
        std::filesystem::read_symlink("/proc/" + std::to_string(child.pid) + "/exe", unreadable);
    if (program.filename() == "floodgate-picture-decoder") return child.pid;
  }
  throw std::runtime_error("there is no zygote");
}

inline std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

// Maps of `pid` that name `key`.
inline int mappings_of(int pid, const std::string& key) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/maps");
  int count = 0;
  for (std::string line; std::getline(file, line);) count += line.find(key) != std::string::npos ? 1 : 0;
  return count;
}

}  // namespace floodgate::testing
