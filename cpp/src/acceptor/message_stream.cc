#include "message_stream.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace floodgate::acceptor {
namespace {

constexpr std::size_t kChunkBytes = 16 << 10;

}  // namespace

bool MessageStream::fill(bool& more) {
  more = false;
  in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(read_));
  read_ = 0;
  const std::size_t before = in_.size();
  in_.resize(before + kChunkBytes);
  ssize_t got = -1;
  do {
    got = recv(socket_.get(), in_.data() + before, kChunkBytes, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  const bool nothing = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
  in_.resize(before + static_cast<std::size_t>(got > 0 ? got : 0));
  more = got == static_cast<ssize_t>(kChunkBytes);
  return got > 0 || nothing;
}

std::optional<MessageStream::Message> MessageStream::next() {
  Header header;
  if (broken_ || in_.size() - read_ < sizeof header) return std::nullopt;
  std::memcpy(&header, in_.data() + read_, sizeof header);
  if (header.bytes > most_bytes_) {
    broken_ = true;
    return std::nullopt;
  }
  if (in_.size() - read_ - sizeof header < header.bytes) return std::nullopt;
  const Message message{header.kind, std::span(in_).subspan(read_ + sizeof header, header.bytes)};
  read_ += sizeof header + header.bytes;
  return message;
}

bool MessageStream::flush() {
  while (unsent() > 0) {
    const ssize_t sent = send(socket_.get(), out_.data() + sent_, unsent(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
      break;
    }
    sent_ += static_cast<std::size_t>(sent);
  }
  out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(sent_));
  sent_ = 0;
  return true;
}

}  // namespace floodgate::acceptor
