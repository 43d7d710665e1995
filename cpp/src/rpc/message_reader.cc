#include "message_reader.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace floodgate::rpc {

std::array<char, kPrefixBytes> prefix_of(std::size_t bytes) {
  const auto size = static_cast<std::uint32_t>(bytes);
  return {0, static_cast<char>(size >> 24U), static_cast<char>(size >> 16U), static_cast<char>(size >> 8U),
          static_cast<char>(size)};
}

Status MessageReader::read(std::span<const std::uint8_t> data, std::uint32_t most_bytes,
                           const RpcMessageFn& make_message, std::vector<Message>& whole) {
  for (;;) {
    if (!message_) {
      const auto part = std::min(data.size(), kPrefixBytes - prefix_read_);
      if (part == 0) return {};
      std::memcpy(prefix_.data() + prefix_read_, data.data(), part);
      prefix_read_ += part;
      data = data.subspan(part);
      if (prefix_read_ < kPrefixBytes) return {};
      Status status = begin(most_bytes, make_message);
      if (!status.ok()) return status;
    }
    const auto room = message_->bytes().subspan(message_read_);
    const auto part = std::min(data.size(), room.size());
    if (part > 0) std::memcpy(room.data(), data.data(), part);
    message_read_ += part;
    data = data.subspan(part);
    if (part < room.size()) return {};
    whole.push_back({std::move(message_), prefix_[0] == 1});
    prefix_read_ = message_read_ = 0;
  }
}

Status MessageReader::begin(std::uint32_t most_bytes, const RpcMessageFn& make_message) {
  std::uint32_t size = 0;
  for (std::size_t i = 1; i < kPrefixBytes; ++i) size = size << 8U | prefix_[i];
  if (prefix_[0] > 1) return {Code::kInvalidArgument, "a message has an unknown flag; is this gRPC?"};
  if (size > most_bytes) {
    return {Code::kTooLarge, "a message is " + std::to_string(size) + " bytes long; at most " +
                                 std::to_string(most_bytes) + " are received"};
  }
  message_ = make_message(size);
  if (message_) return {};
  return {Code::kOverloaded,
          "there is no room now to receive a message of " + std::to_string(size) + " bytes"};
}

}  // namespace floodgate::rpc
