// Messages over a stream socket that never waits: bytes are kept here until a message is whole, or until the
// other end has room for more.
//
// Owns the socket and both buffers. Thread rule: one thread at a time. Refused: a message longer than the
// limit; nothing is read any more after one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "message.h"
#include "worker/descriptor.h"

namespace floodgate::acceptor {

class MessageStream {
 public:
  struct Message {
    std::uint32_t kind = 0;  // a Kind, or nothing that is known
    std::span<const std::uint8_t> bytes;
  };

  MessageStream(Descriptor socket, std::uint32_t most_bytes)
      : socket_(std::move(socket)), most_bytes_(most_bytes) {}

  [[nodiscard]] int socket() const { return socket_.get(); }
  void close() { socket_.reset(); }

  // Takes what has arrived, 16 KiB at most. False: the other end is gone. `more`: there may be more.
  bool fill(bool& more);
  // The next whole message, which lives until fill() or the next next(); nothing: not yet.
  std::optional<Message> next();
  // The other end sent a message that is too long.
  [[nodiscard]] bool broken() const { return broken_; }

  // What is to be sent. flush() sends as much as there is room for; false: the other end is gone.
  Packer pack() { return Packer(out_); }
  bool flush();
  [[nodiscard]] std::size_t unsent() const { return out_.size() - sent_; }

 private:
  Descriptor socket_;
  const std::uint32_t most_bytes_;
  std::vector<std::uint8_t> in_;
  std::size_t read_ = 0;  // of in_
  std::vector<std::uint8_t> out_;
  std::size_t sent_ = 0;  // of out_
  bool broken_ = false;
};

}  // namespace floodgate::acceptor
