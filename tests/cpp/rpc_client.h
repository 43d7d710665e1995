// An HTTP/2 client beside a session, without sockets: what one says the other hears at once.
#pragma once

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "floodgate/rpc_session.h"

namespace floodgate::testing {

class VectorMessage final : public RpcMessage {
 public:
  explicit VectorMessage(std::size_t size) : bytes_(size) {}
  std::span<std::uint8_t> bytes() override { return bytes_; }

 private:
  std::vector<std::uint8_t> bytes_;
};

inline std::unique_ptr<RpcMessage> vector_message(std::size_t size) {
  return std::make_unique<VectorMessage>(size);
}

inline std::string text_of(RpcMessage& message) {
  const auto bytes = message.bytes();
  return {bytes.begin(), bytes.end()};
}

inline std::span<const std::uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

// A message as gRPC frames it.
inline std::string framed(std::string_view message, char flag = 0) {
  const auto size = static_cast<std::uint32_t>(message.size());
  std::string out{flag, static_cast<char>(size >> 24U), static_cast<char>(size >> 16U),
                  static_cast<char>(size >> 8U), static_cast<char>(size)};
  return out.append(message);
}

class RpcClient {
 public:
  struct Answer {
    std::map<std::string, std::string> headers;  // trailers too
    std::string data;
    bool closed = false;
    std::uint32_t reset = NGHTTP2_NO_ERROR;
  };
  using Headers = std::vector<std::pair<std::string, std::string>>;

  explicit RpcClient(RpcSession& server) : server_(server) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, &RpcClient::on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, &RpcClient::on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, &RpcClient::on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, &RpcClient::on_close);
    nghttp2_session_client_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
  }
  ~RpcClient() { nghttp2_session_del(session_); }
  RpcClient(const RpcClient&) = delete;
  RpcClient& operator=(const RpcClient&) = delete;

  // Begins a call and says `body`; `more`: it does not end there. The call's number.
  std::int32_t call(std::string body, bool more = false, const Headers& extra = {},
                    const std::string& path = "/s/m") {
    Headers headers{{":method", "POST"},
                    {":scheme", "http"},
                    {":path", path},
                    {":authority", "a"},
                    {"content-type", "application/grpc"}};
    headers.insert(headers.end(), extra.begin(), extra.end());
    std::vector<nghttp2_nv> raw;
    for (auto& [name, value] : headers) {
      raw.push_back({reinterpret_cast<std::uint8_t*>(name.data()),
                     reinterpret_cast<std::uint8_t*>(value.data()), name.size(), value.size(),
                     NGHTTP2_NV_FLAG_NONE});
    }
    auto said = std::make_unique<Said>(Said{std::move(body), 0, more});
    nghttp2_data_provider provider;
    provider.source.ptr = said.get();
    provider.read_callback = &RpcClient::on_room;
    const auto id = nghttp2_submit_request(session_, nullptr, raw.data(), raw.size(), &provider, nullptr);
    said_[id] = std::move(said);
    return id;
  }
  void say(std::int32_t id, std::string_view more, bool end) {
    said_[id]->text.append(more);
    said_[id]->more = !end;
    nghttp2_session_resume_data(session_, id);
  }
  void cancel(std::int32_t id) { nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL); }
  // Bytes of a call that the server did not want yet.
  std::size_t unsaid(std::int32_t id) { return said_[id]->text.size() - said_[id]->sent; }

  // Carries bytes both ways, at most `piece` at a time to the server, until nobody says more.
  Status exchange(std::size_t piece = SIZE_MAX) {
    for (;;) {
      std::string there;
      const std::uint8_t* bytes = nullptr;
      for (ssize_t size = 0; (size = nghttp2_session_mem_send(session_, &bytes)) > 0;) {
        there.append(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
      }
      for (std::size_t at = 0; at < there.size(); at += std::min(piece, there.size() - at)) {
        Status status = server_.receive(bytes_of(std::string_view(there).substr(at, piece)));
        if (!status.ok()) return status;
      }
      const std::string back = server_.output();
      nghttp2_session_mem_recv(session_, bytes_of(back).data(), back.size());
      if (there.empty() && back.empty()) return {};
    }
  }

  Answer& answer(std::int32_t id) { return answers_[id]; }
  [[nodiscard]] bool sent_away() const { return sent_away_; }

 private:
  struct Said {
    std::string text;
    std::size_t sent = 0;
    bool more = false;
  };

  static RpcClient& self(void* user) { return *static_cast<RpcClient*>(user); }
  static ssize_t on_room(nghttp2_session*, std::int32_t, std::uint8_t* room, std::size_t size,
                         std::uint32_t* flags, nghttp2_data_source* source, void*) {
    auto& said = *static_cast<Said*>(source->ptr);
    const auto part = std::min(size, said.text.size() - said.sent);
    std::memcpy(room, said.text.data() + said.sent, part);
    said.sent += part;
    if (said.sent == said.text.size() && !said.more) *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (part == 0 && said.more) return NGHTTP2_ERR_DEFERRED;
    return static_cast<ssize_t>(part);
  }
  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                       void* user) {
    self(user).answers_[frame->hd.stream_id].headers[{name, name + name_size}] = {value, value + value_size};
    return 0;
  }
  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                     std::size_t size, void* user) {
    self(user).answers_[id].data.append(data, data + size);
    return 0;
  }
  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type == NGHTTP2_GOAWAY) self(user).sent_away_ = true;
    return 0;
  }
  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t code, void* user) {
    self(user).answers_[id].closed = true;
    self(user).answers_[id].reset = code;
    return 0;
  }

  RpcSession& server_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, std::unique_ptr<Said>> said_;
  std::map<std::int32_t, Answer> answers_;
  bool sent_away_ = false;
};

}  // namespace floodgate::testing
