// The decoder programs: floodgate-decoder reads every format, floodgate-picture-decoder the everyday picture
// formats (pictures/), and either has two lives. Started as a zygote, it forks the sandboxed decode workers.
//
// The zygote is trusted: it reads nothing but its server's requests, and stays single-threaded, so that a
// fork copies all there is. A worker is not: everything that it need not have is taken from it before it sees
// the first job. Thread rule: one thread; codecs may start threads of their own in a worker.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "worker/wire.h"

namespace floodgate::decoder {

// What a worker inherits.
struct Inheritance {
  sandbox::Setup setup;
  std::span<const std::uint8_t> arena;  // mapped so that it cannot be made writable
  pid_t zygote = 0;
  std::vector<sock_filter> filter;  // of make_filter()
};

// Serves `control` until the server is gone; the program's exit code.
int run_zygote(int control);

// Runs every codec library once over a tiny sample, so that what a library opens, loads or computes when
// first used is behind it when workers are forked.
void warm_up();

// A worker's life; never returns. `socket`: its channel to the server.
[[noreturn]] void run_worker(const Inheritance& inheritance, int socket);

// confinement.cc: gives up all rights and sets the limits; `why` says what failed. REQUIRES: one thread.
// `address_space_bytes`: out: the limit set.
bool confine(const Inheritance& inheritance, std::uint64_t& address_space_bytes, std::string& why);
// system_calls.cc: the filter of all workers, made once because that takes longer than a fork; and the last
// step of confine(), which makes it this worker's own.
bool make_filter(std::vector<sock_filter>& filter, std::string& why);
bool forbid_system_calls(std::vector<sock_filter> filter, std::string& why);
// crash.cc: has a crash for want of memory end in an exit code that says so.
bool watch_for_crashes(std::uint64_t memory_bytes);

// faults.cc: does what a "floodgate-fault:<what>" mark in the content says; nothing when there is none.
void obey_fault(std::span<const std::uint8_t> content, std::span<const std::uint8_t> arena);

}  // namespace floodgate::decoder
