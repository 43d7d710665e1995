#include "channel.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace floodgate::sandbox {
namespace {

constexpr std::int64_t kNanosPerSecond = 1'000'000'000;

Received outcome(ssize_t got, std::size_t& bytes) {
  if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK ? Received::kNothing : Received::kClosed;
  if (got == 0 || static_cast<std::size_t>(got) > bytes) return Received::kClosed;
  bytes = static_cast<std::size_t>(got);
  return Received::kMessage;
}

Received receive_with(int flags, int socket, void* buffer, std::size_t& bytes) {
  ssize_t got = -1;
  do {
    got = recv(socket, buffer, bytes, flags);
  } while (got < 0 && errno == EINTR);
  return outcome(got, bytes);
}

}  // namespace

bool make_channel(Descriptor& one, Descriptor& other) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return false;
  one = Descriptor(ends[0]);
  other = Descriptor(ends[1]);
  return true;
}

bool set_receive_limit(int socket, std::int64_t nanoseconds) {
  const timeval limit{nanoseconds / kNanosPerSecond, nanoseconds % kNanosPerSecond / 1000};
  return setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0;
}

bool send(int socket, const void* message, std::size_t bytes, std::span<const int> descriptors) {
  constexpr int kFlags = MSG_NOSIGNAL | MSG_DONTWAIT;
  ssize_t sent = -1;
  if (descriptors.empty()) {
    do {
      sent = ::send(socket, message, bytes, kFlags);
    } while (sent < 0 && errno == EINTR);
    return sent == static_cast<ssize_t>(bytes);
  }
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)] = {};
  iovec part{const_cast<void*>(message), bytes};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
  do {
    sent = sendmsg(socket, &header, kFlags);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(bytes);
}

Received receive(int socket, void* buffer, std::size_t& bytes) {
  return receive_with(MSG_TRUNC, socket, buffer, bytes);
}

Received poll_message(int socket, void* buffer, std::size_t& bytes) {
  return receive_with(MSG_TRUNC | MSG_DONTWAIT, socket, buffer, bytes);
}

Received receive(int socket, void* buffer, std::size_t& bytes,
                 std::array<Descriptor, kMaxDescriptors>& descriptors) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxDescriptors)] = {};
  iovec part{buffer, bytes};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t got = -1;
  do {
    got = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | MSG_TRUNC);
  } while (got < 0 && errno == EINTR);
  if (got > 0) {
    for (cmsghdr* each = CMSG_FIRSTHDR(&header); each != nullptr; each = CMSG_NXTHDR(&header, each)) {
      if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t count = std::min((each->cmsg_len - CMSG_LEN(0)) / sizeof(int), kMaxDescriptors);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(each) + i * sizeof(int), sizeof fd);
        descriptors[i] = Descriptor(fd);
      }
    }
  }
  return outcome(got, bytes);
}

}  // namespace floodgate::sandbox
