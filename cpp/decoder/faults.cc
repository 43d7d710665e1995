// Misbehaviour on demand, for tests of the sandbox.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <string_view>

#include "decoder.h"
#include "worker/channel.h"

namespace floodgate::decoder {
namespace {

constexpr std::string_view kMark = "floodgate-fault:";

// Deeper and deeper, as far as any stack goes, in a way that no compiler turns into a loop.
int overflow(int depth) {
  volatile char frame[4096];
  frame[depth % 4096] = static_cast<char>(depth);
  return depth == -1 ? 0 : overflow(depth + 1) + frame[(depth + 1) % 4096];
}

void use_memory() {
  constexpr std::size_t kStep = 1 << 20;
  for (;;) {
    auto* bytes = static_cast<volatile char*>(std::malloc(kStep));
    for (std::size_t i = 0; i < kStep; i += 4096) bytes[i] = 1;
  }
}

void hang() {
  const timespec hour{3600, 0};
  for (;;) nanosleep(&hour, nullptr);
}

void crash() {
  volatile int* volatile nowhere = nullptr;
  *nowhere = 1;
}

}  // namespace

void obey_fault(std::span<const std::uint8_t> content, std::span<const std::uint8_t> arena) {
  const std::string_view text(reinterpret_cast<const char*>(content.data()), content.size());
  const std::size_t at = text.find(kMark);
  if (at == std::string_view::npos) return;
  const std::string_view what = text.substr(at + kMark.size());
  const auto is = [&](std::string_view word) { return what.starts_with(word); };
  if (is("crash")) crash();
  if (is("abort")) std::terminate();
  if (is("spin")) {
    for (volatile bool spinning = true; spinning;) {
    }
  }
  if (is("hang")) hang();
  if (is("open")) (void)open("/etc/passwd", O_RDONLY);
  if (is("socket")) (void)socket(AF_INET, SOCK_STREAM, 0);
  if (is("exec")) execl("/bin/true", "true", nullptr);
  if (is("fork")) (void)fork();
  if (is("memory")) use_memory();
  if (is("stack")) (void)overflow(1);
  if (is("write")) {
    // The arena holds what others sent: it can neither be written nor be made writable.
    auto* input = const_cast<std::uint8_t*>(content.data());
    (void)mprotect(const_cast<std::uint8_t*>(arena.data()), arena.size(), PROT_READ | PROT_WRITE);
    *input = 0;
  }
  if (is("code")) (void)mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (is("leave")) _exit(0);
  if (is("nonsense")) {
    constexpr char kNonsense[] = "nonsense";
    (void)sandbox::send(sandbox::kControlDescriptor, kNonsense, sizeof kNonsense);
  }
}

}  // namespace floodgate::decoder
