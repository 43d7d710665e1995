// gRPC's messages out of the pieces in which they arrive: a flag, a length, then the bytes, which go to
// memory of the receiver's. Thread rule: one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "floodgate/rpc_session.h"
#include "floodgate/status.h"

namespace floodgate::rpc {

inline constexpr std::size_t kPrefixBytes = 5;  // the flag and the length

// What comes before a message of so many bytes.
std::array<char, kPrefixBytes> prefix_of(std::size_t bytes);

class MessageReader {
 public:
  struct Message {
    std::unique_ptr<RpcMessage> message;
    bool compressed = false;
  };

  // Adds the messages that become whole with `data`. Errors, after which nothing more may be read:
  // kInvalidArgument (this is no message), kTooLarge (more than `most_bytes`), kOverloaded (no memory).
  Status read(std::span<const std::uint8_t> data, std::uint32_t most_bytes, const RpcMessageFn& make_message,
              std::vector<Message>& whole);
  // Between the first byte of a message and its last.
  [[nodiscard]] bool midway() const { return prefix_read_ > 0; }

 private:
  Status begin(std::uint32_t most_bytes, const RpcMessageFn& make_message);

  std::array<std::uint8_t, kPrefixBytes> prefix_{};
  std::size_t prefix_read_ = 0;
  std::unique_ptr<RpcMessage> message_;
  std::size_t message_read_ = 0;
};

}  // namespace floodgate::rpc
