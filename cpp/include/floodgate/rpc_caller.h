// A gRPC client's connection for unary calls, without its socket: the counterpart of RpcSession. A call ends
// with exactly one answer.
//
// Owns nghttp2's state and what waits to be sent. Thread rule: one thread at a time. Refused: see receive().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "floodgate/rpc_session.h"
#include "floodgate/status.h"

namespace floodgate {

// How a call ended. Headers that the server did not send are empty.
struct RpcAnswer {
  std::int32_t call = 0;
  std::unique_ptr<RpcMessage> message;  // empty: none came
  std::string http_status;              // ":status"
  std::string status;                   // "grpc-status", a number
  std::string text;                     // "grpc-message" as it was sent, percent-encoded
  // kCancelled: the server has certainly not begun it; kUnavailable: it ended before its answer; else what
  // the server sent and gRPC does not allow.
  Status fault;
};

class RpcCaller {
 public:
  // `authority`: who is called, "host:port". Errors: kUnavailable (no memory).
  static Result<std::unique_ptr<RpcCaller>> create(std::string authority, std::uint32_t message_bytes,
                                                   RpcMessageFn make_message);
  ~RpcCaller();
  RpcCaller(const RpcCaller&) = delete;
  RpcCaller& operator=(const RpcCaller&) = delete;

  // Begins a call of "/package.Service/Method". Its number; errors: kUnavailable (the server takes no more).
  Result<std::int32_t> call(std::string_view path, std::span<const std::uint8_t> message);
  // Takes a call back. Its answer follows, without a status.
  void cancel(std::int32_t call);

  // Takes what the socket received. Errors: kInvalidArgument: this is no HTTP/2. Answers before it are there.
  Status receive(std::span<const std::uint8_t> bytes);
  // Of calls that ended since the last call of this.
  std::vector<RpcAnswer> take_answers();
  // What is to be written to the socket now.
  std::string output();
  // The server will answer nothing more.
  [[nodiscard]] bool over() const;

 private:
  class Http2;
  explicit RpcCaller(std::unique_ptr<Http2> http2);
  const std::unique_ptr<Http2> http2_;
};

}  // namespace floodgate
