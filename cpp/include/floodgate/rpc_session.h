// One connection of a gRPC server, without its socket: received bytes go in, what the client's calls did
// comes out, and so does what is to be sent. HTTP/2 is nghttp2's; here are gRPC's messages, each of which is
// put together once, in memory of its receiver's
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). What calls mean is the caller's.
//
// Owns nghttp2's state and what waits to be sent. Thread rule: one thread at a time. Refused: see receive().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "floodgate/status.h"

namespace floodgate {

// Where a message goes. Made when its length is known, and then filled.
class RpcMessage {
 public:
  virtual ~RpcMessage() = default;
  virtual std::span<std::uint8_t> bytes() = 0;
};

// A message of so many bytes; empty: there is no memory for it.
using RpcMessageFn = std::function<std::unique_ptr<RpcMessage>(std::size_t)>;

// What a call began with. Headers that were not sent are empty.
struct RpcHead {
  std::string method;  // HTTP's, "POST" for gRPC
  std::string path;    // "/package.Service/Method"
  std::string content_type;
  std::string timeout;   // "grpc-timeout" as it was sent
  std::string encoding;  // "grpc-encoding", of compressed messages
};

// Of one call they come in this order: kCall, any number of kMessage, kEnd or kFault or neither, kClosed.
enum class RpcEventKind : std::uint8_t {
  kCall,     // `head`
  kMessage,  // `message`, `compressed`. The client may send about a window more until taken() is called
  kEnd,      // the client sends no more messages
  kFault,    // `fault`: the client broke gRPC's rules or a limit; nothing more of the call is read
  kClosed,   // the call is over, both ways; its number means nothing from here on
};

struct RpcEvent {
  RpcEventKind kind = RpcEventKind::kCall;
  std::int32_t call = 0;
  std::unique_ptr<RpcHead> head;
  std::unique_ptr<RpcMessage> message;
  bool compressed = false;
  Status fault;  // kTooLarge, kInvalidArgument, kOverloaded (no room for the message now)
};

// What sessions that share it may hold of messages that nobody has taken yet, bytes. Thread rule: one thread
// at a time.
class RpcBudget {
 public:
  explicit RpcBudget(std::size_t bytes) : bytes_(bytes) {}
  // False, and nothing is taken: there is no room. `small`: there is always.
  bool take(std::size_t bytes, bool small) {
    if (!small && used_ + bytes > bytes_) return false;
    used_ += bytes;
    return true;
  }
  void give_back(std::size_t bytes) { used_ -= bytes; }
  [[nodiscard]] std::size_t used() const { return used_; }

 private:
  const std::size_t bytes_;
  std::size_t used_ = 0;
};

struct RpcLimits {
  std::uint32_t message_bytes = 64 << 20;  // of one message
  std::uint32_t header_bytes = 16 << 10;   // of a call's headers, as HTTP/2 counts them
  std::uint32_t calls = 8192;              // at once
  std::shared_ptr<RpcBudget> budget;       // empty: none
};

using RpcHeaders = std::vector<std::pair<std::string, std::string>>;

class RpcSession {
 public:
  // Errors: kUnavailable (no memory).
  static Result<std::unique_ptr<RpcSession>> create(const RpcLimits& limits, RpcMessageFn make_message);
  ~RpcSession();
  RpcSession(const RpcSession&) = delete;
  RpcSession& operator=(const RpcSession&) = delete;

  // Takes what the socket received. Errors: kInvalidArgument: this is no HTTP/2; send what output() gives and
  // close. Events before the error are there.
  Status receive(std::span<const std::uint8_t> bytes);
  // What happened since the last call.
  std::vector<RpcEvent> take_events();

  // The reader of `call` has one of its messages. Until every one was taken, the client is held back.
  void taken(std::int32_t call);
  // Answers one message. Nothing happens to a call that is closed or finished.
  void send(std::int32_t call, std::span<const std::uint8_t> message);
  // Ends the call after what was sent, with these trailers; a client that has more to say is told to stop. Of
  // a call that was sent nothing the trailers are the whole answer, with HTTP's `status`.
  void finish(std::int32_t call, const RpcHeaders& trailers, std::string_view status = "200");
  // Ends the call at once, whatever was not sent yet.
  void reset(std::int32_t call);
  // Calls in the middle of a message of which nothing more has come since the last call of this.
  std::vector<std::int32_t> stalled();
  // Of what was sent to `call`, bytes that output() has not given yet.
  [[nodiscard]] std::size_t unsent(std::int32_t call) const;

  // What is to be written to the socket now.
  std::string output();

  // Tells the client that no calls are taken after those it has begun.
  void go_away();
  // Nothing is read or written any more: the socket may be closed.
  [[nodiscard]] bool over() const;
  [[nodiscard]] std::size_t calls() const;

 private:
  class Http2;
  explicit RpcSession(std::unique_ptr<Http2> http2);
  const std::unique_ptr<Http2> http2_;
};

}  // namespace floodgate
