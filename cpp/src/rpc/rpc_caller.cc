#include "floodgate/rpc_caller.h"

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "http2.h"
#include "message_reader.h"

namespace floodgate {
namespace {

using rpc::header;
using rpc::text_of;

constexpr std::uint32_t kWindowBytes = 16 << 20;

struct Call {
  std::string out;
  std::size_t out_sent = 0;
  rpc::MessageReader reader;
  RpcAnswer answer;
};

}  // namespace

class RpcCaller::Http2 {
 public:
  Http2(std::string authority, std::uint32_t message_bytes, RpcMessageFn make_message)
      : authority_(std::move(authority)),
        message_bytes_(message_bytes),
        make_message_(std::move(make_message)) {}

  bool start() {
    nghttp2_session_callbacks* made = nullptr;
    if (nghttp2_session_callbacks_new(&made) != 0) return false;
    const std::unique_ptr<nghttp2_session_callbacks, rpc::Deleter> callbacks(made);
    nghttp2_session_callbacks_set_on_header_callback(made, &Http2::on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, &Http2::on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, &Http2::on_close);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(made, &Http2::on_not_sent);
    nghttp2_session* session = nullptr;
    if (nghttp2_session_client_new(&session, made, this) != 0) return false;
    session_.reset(session);
    const std::array settings{nghttp2_settings_entry{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                              nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kWindowBytes}};
    return nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) == 0 &&
           nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0,
                                                 static_cast<std::int32_t>(kWindowBytes)) == 0;
  }

  Result<std::int32_t> call(std::string_view path, std::span<const std::uint8_t> message) {
    if (nghttp2_session_check_request_allowed(session_.get()) == 0) {
      return Status(Code::kUnavailable, "the server takes no more calls on this connection");
    }
    const std::array headers{header(":method", "POST"),
                             header(":scheme", "http"),
                             header(":path", path),
                             header(":authority", authority_),
                             header("te", "trailers"),
                             header("content-type", "application/grpc"),
                             header("user-agent", "floodgate")};
    nghttp2_data_provider provider;
    provider.source.ptr = this;
    provider.read_callback = &Http2::on_room;
    const auto id =
        nghttp2_submit_request(session_.get(), nullptr, headers.data(), headers.size(), &provider, nullptr);
    if (id < 0) return Status(Code::kUnavailable, nghttp2_strerror(id));
    Call& made = calls_[id];
    made.answer.call = id;
    const auto prefix = rpc::prefix_of(message.size());
    made.out.reserve(prefix.size() + message.size());
    made.out.append(prefix.data(), prefix.size());
    made.out.append(text_of(message.data(), message.size()));
    return id;
  }

  void cancel(std::int32_t id) {
    if (calls_.contains(id)) {
      nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    }
  }

  Status receive(std::span<const std::uint8_t> bytes) {
    const auto taken = nghttp2_session_mem_recv(session_.get(), bytes.data(), bytes.size());
    if (taken < 0) return {Code::kInvalidArgument, nghttp2_strerror(static_cast<int>(taken))};
    return {};
  }

  std::vector<RpcAnswer> take_answers() { return std::exchange(answers_, {}); }
  std::string output() { return rpc::output_of(session_.get()); }

  [[nodiscard]] bool over() const {
    return nghttp2_session_want_read(session_.get()) == 0 && nghttp2_session_want_write(session_.get()) == 0;
  }

 private:
  static Http2& self(void* user) { return *static_cast<Http2*>(user); }

  Call* find(std::int32_t id) {
    const auto found = calls_.find(id);
    return found == calls_.end() ? nullptr : &found->second;
  }

  static ssize_t on_room(nghttp2_session*, std::int32_t id, std::uint8_t* room, std::size_t size,
                         std::uint32_t* flags, nghttp2_data_source* source, void*) {
    Call* call = self(source->ptr).find(id);
    if (call == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const auto part = std::min(size, call->out.size() - call->out_sent);
    std::copy_n(call->out.data() + call->out_sent, part, room);
    call->out_sent += part;
    if (call->out_sent == call->out.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(part);
  }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                       void* user) {
    Call* call = self(user).find(frame->hd.stream_id);
    if (call == nullptr) return 0;
    const std::string_view key = text_of(name, name_size);
    std::string* member = key == ":status"        ? &call->answer.http_status
                          : key == "grpc-status"  ? &call->answer.status
                          : key == "grpc-message" ? &call->answer.text
                                                  : nullptr;
    if (member != nullptr) member->assign(text_of(value, value_size));
    return 0;
  }

  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                     std::size_t size, void* user) {
    Call* call = self(user).find(id);
    if (call == nullptr || !call->answer.fault.ok()) return 0;
    std::vector<rpc::MessageReader::Message> whole;
    call->answer.fault =
        call->reader.read({data, size}, self(user).message_bytes_, self(user).make_message_, whole);
    for (auto& each : whole) {
      if (call->answer.message || each.compressed) {
        call->answer.fault = {Code::kInvalidArgument, "the answer is compressed, or there is more than one"};
      }
      call->answer.message = std::move(each.message);
    }
    return 0;
  }

  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t code, void* user) {
    const bool begun = code != NGHTTP2_REFUSED_STREAM;
    const bool broke = code == NGHTTP2_CANCEL || code == NGHTTP2_NO_ERROR;
    self(user).end(id,
                   !begun  ? Code::kCancelled
                   : broke ? Code::kUnavailable
                           : Code::kInternal,
                   code == NGHTTP2_NO_ERROR ? "" : nghttp2_http2_strerror(code));
    return 0;
  }

  // A call waited for its turn, and the server said meanwhile that it takes no more.
  static int on_not_sent(nghttp2_session*, const nghttp2_frame* frame, int error, void* user) {
    if (frame->hd.type == NGHTTP2_HEADERS) {
      self(user).end(frame->hd.stream_id, Code::kCancelled, nghttp2_strerror(error));
    }
    return 0;
  }

  void end(std::int32_t id, Code code, const std::string& problem) {
    const auto found = calls_.find(id);
    if (found == calls_.end()) return;
    RpcAnswer answer = std::move(found->second.answer);
    if (!problem.empty() && answer.status.empty() && answer.fault.ok()) {
      answer.fault = {code, "the call was ended: " + problem};
    }
    calls_.erase(found);
    answers_.push_back(std::move(answer));
  }

  const std::string authority_;
  const std::uint32_t message_bytes_;
  const RpcMessageFn make_message_;
  std::unique_ptr<nghttp2_session, rpc::Deleter> session_;
  std::unordered_map<std::int32_t, Call> calls_;
  std::vector<RpcAnswer> answers_;
};

Result<std::unique_ptr<RpcCaller>> RpcCaller::create(std::string authority, std::uint32_t message_bytes,
                                                     RpcMessageFn make_message) {
  auto http2 = std::make_unique<Http2>(std::move(authority), message_bytes, std::move(make_message));
  if (!http2->start()) return Status(Code::kUnavailable, "there is no memory for a connection");
  return std::unique_ptr<RpcCaller>(new RpcCaller(std::move(http2)));
}

RpcCaller::RpcCaller(std::unique_ptr<Http2> http2) : http2_(std::move(http2)) {}
RpcCaller::~RpcCaller() = default;

Result<std::int32_t> RpcCaller::call(std::string_view path, std::span<const std::uint8_t> message) {
  return http2_->call(path, message);
}
void RpcCaller::cancel(std::int32_t call) { http2_->cancel(call); }
Status RpcCaller::receive(std::span<const std::uint8_t> bytes) { return http2_->receive(bytes); }
std::vector<RpcAnswer> RpcCaller::take_answers() { return http2_->take_answers(); }
std::string RpcCaller::output() { return http2_->output(); }
bool RpcCaller::over() const { return http2_->over(); }

}  // namespace floodgate
