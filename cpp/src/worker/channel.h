// Whole messages over a SOCK_SEQPACKET, with descriptors where they belong.
//
// Both ends of every channel of the sandbox: server and zygote, server and worker. A message is plain data of
// a fixed layout, because both programs come from one build (checked when the zygote starts). What a worker
// sends is read with receive() into a buffer of the reader's size and can carry no descriptor: the kernel
// drops those that nobody asks for. Thread rule: stateless; one thread at a time a direction.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "descriptor.h"

namespace floodgate::sandbox {

inline constexpr std::size_t kMaxDescriptors = 2;

enum class Received {
  kMessage,
  kClosed,   // the other end is gone, or sent nothing that can be read
  kNothing,  // no message within the socket's time limit
};

// Two connected sockets, closed on exec. False, with errno, when there are none to be had.
bool make_channel(Descriptor& one, Descriptor& other);

// How long a receive waits: rounded by the kernel to its clock ticks. 0: for ever.
bool set_receive_limit(int socket, std::int64_t nanoseconds);

// Never waits for room and raises no signal: false when the other end is gone or does not read.
bool send(int socket, const void* message, std::size_t bytes, std::span<const int> descriptors = {});

// `bytes`: in: room in the buffer; out: length of the message. One that is longer counts as none.
Received receive(int socket, void* buffer, std::size_t& bytes);
// The same, without waiting.
Received poll_message(int socket, void* buffer, std::size_t& bytes);
// As receive(), with the descriptors that came along.
Received receive(int socket, void* buffer, std::size_t& bytes,
                 std::array<Descriptor, kMaxDescriptors>& descriptors);

// A message of exactly T's size.
template <typename T>
Received receive(int socket, T& message) {
  std::size_t bytes = sizeof message;
  const Received received = receive(socket, &message, bytes);
  return received == Received::kMessage && bytes != sizeof message ? Received::kClosed : received;
}

}  // namespace floodgate::sandbox
