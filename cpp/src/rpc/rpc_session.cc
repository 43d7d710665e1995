#include "floodgate/rpc_session.h"

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "http2.h"
#include "message_reader.h"

namespace floodgate {
namespace {

using rpc::header;
using rpc::text_of;

constexpr std::uint32_t kFrameBytes = 1 << 20;
constexpr std::uint32_t kCallWindowBytes = 4 << 20;
constexpr std::int32_t kConnectionWindowBytes = 64 << 20;
constexpr std::size_t kSmallBytes = 64 << 10;  // of a call, for which there is always room
constexpr std::size_t kHeaderOverhead = 32;    // RFC 9113, section 6.5.2
// Calls that a client takes back cost little here; those of clients with a patience of milliseconds are many.
constexpr std::uint64_t kResetBurst = 20'000;
constexpr std::uint64_t kResetsPerSecond = 5'000;

struct Call {
  // In.
  std::unique_ptr<RpcHead> head = std::make_unique<RpcHead>();  // until the event
  std::size_t header_bytes = 0;
  rpc::MessageReader reader;
  std::deque<std::size_t> untaken;  // messages, by their bytes
  std::size_t charged = 0;          // to the budget
  bool moved = false;               // something came since stalled()
  std::size_t withheld = 0;         // bytes that the window was not given back for
  bool ended = false;               // the client said all
  bool ignored = false;             // what it says from here on
  // Out.
  std::string out;
  std::size_t out_sent = 0;  // of `out`
  bool answered = false;     // headers are on their way
  bool deferred = false;     // nghttp2 waits for more to send
  std::optional<RpcHeaders> trailers;
};

}  // namespace

class RpcSession::Http2 {
 public:
  Http2(const RpcLimits& limits, RpcMessageFn make_message)
      : limits_(limits), make_message_(std::move(make_message)) {}

  ~Http2() {
    for (auto& [id, call] : calls_) ignore(call);
  }
  Http2(const Http2&) = delete;
  Http2& operator=(const Http2&) = delete;

  bool start() {
    nghttp2_session_callbacks* made = nullptr;
    if (nghttp2_session_callbacks_new(&made) != 0) return false;
    const std::unique_ptr<nghttp2_session_callbacks, rpc::Deleter> callbacks(made);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, &Http2::on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(made, &Http2::on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, &Http2::on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, &Http2::on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(made, &Http2::on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, &Http2::on_close);
    nghttp2_option* options = nullptr;
    if (nghttp2_option_new(&options) != 0) return false;
    const std::unique_ptr<nghttp2_option, rpc::Deleter> option(options);
    nghttp2_option_set_no_auto_window_update(options, 1);
    nghttp2_option_set_stream_reset_rate_limit(options, kResetBurst, kResetsPerSecond);
    nghttp2_session* session = nullptr;
    if (nghttp2_session_server_new2(&session, made, this, options) != 0) return false;
    session_.reset(session);
    const std::array settings{
        nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits_.calls},
        nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kCallWindowBytes},
        nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_FRAME_SIZE, kFrameBytes},
        nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limits_.header_bytes}};
    return nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) == 0 &&
           nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, kConnectionWindowBytes) == 0;
  }

  Status receive(std::span<const std::uint8_t> bytes) {
    const auto taken = nghttp2_session_mem_recv(session_.get(), bytes.data(), bytes.size());
    if (taken < 0) return {Code::kInvalidArgument, nghttp2_strerror(static_cast<int>(taken))};
    return {};
  }

  std::vector<RpcEvent> take_events() { return std::exchange(events_, {}); }

  void taken(std::int32_t id) {
    Call* call = find(id);
    if (call == nullptr || call->untaken.empty()) return;
    give_back(*call, call->untaken.front());
    call->untaken.pop_front();
    if (!call->untaken.empty()) return;
    nghttp2_session_consume_stream(session_.get(), id, std::exchange(call->withheld, 0));
  }

  void send(std::int32_t id, std::span<const std::uint8_t> message) {
    Call* call = find(id);
    if (call == nullptr || call->trailers) return;
    const auto prefix = rpc::prefix_of(message.size());
    call->out.erase(0, std::exchange(call->out_sent, 0));
    call->out.append(prefix.data(), prefix.size());
    call->out.append(text_of(message.data(), message.size()));
    go_on(id, *call);
  }

  void finish(std::int32_t id, const RpcHeaders& trailers, std::string_view status) {
    Call* call = find(id);
    if (call == nullptr || call->trailers) return;
    call->trailers = trailers;
    ignore(*call);
    if (call->answered) {
      go_on(id, *call);
      return;
    }
    call->answered = true;
    std::vector<nghttp2_nv> headers{header(":status", status), header("content-type", "application/grpc")};
    for (const auto& [name, value] : trailers) headers.push_back(header(name, value));
    nghttp2_submit_response(session_.get(), id, headers.data(), headers.size(), nullptr);
  }

  void reset(std::int32_t id) {
    if (find(id) != nullptr) nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
  }

  std::vector<std::int32_t> stalled() {
    std::vector<std::int32_t> found;
    for (auto& [id, call] : calls_) {
      if (!std::exchange(call.moved, false) && !call.ignored && call.reader.midway()) found.push_back(id);
    }
    return found;
  }

  [[nodiscard]] std::size_t unsent(std::int32_t id) const {
    const auto found = calls_.find(id);
    return found == calls_.end() ? 0 : found->second.out.size() - found->second.out_sent;
  }

  std::string output() { return rpc::output_of(session_.get()); }

  void go_away() {
    nghttp2_submit_goaway(session_.get(), NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(session_.get()), NGHTTP2_NO_ERROR, nullptr,
                          0);
  }

  [[nodiscard]] bool over() const {
    return nghttp2_session_want_read(session_.get()) == 0 && nghttp2_session_want_write(session_.get()) == 0;
  }

  [[nodiscard]] std::size_t calls() const { return calls_.size(); }

 private:
  static Http2& self(void* user) { return *static_cast<Http2*>(user); }

  Call* find(std::int32_t id) {
    const auto found = calls_.find(id);
    return found == calls_.end() ? nullptr : &found->second;
  }

  void give_back(Call& call, std::size_t bytes) {
    const auto part = std::min(bytes, call.charged);
    call.charged -= part;
    if (limits_.budget) limits_.budget->give_back(part);
  }

  // Nothing more of what the client says is wanted.
  void ignore(Call& call) {
    call.ignored = true;
    call.untaken.clear();
    give_back(call, call.charged);
  }

  RpcEvent& tell(RpcEventKind kind, std::int32_t id) {
    RpcEvent event;
    event.kind = kind;
    event.call = id;
    return events_.emplace_back(std::move(event));
  }

  void fault(std::int32_t id, Call& call, Status status) {
    ignore(call);
    tell(RpcEventKind::kFault, id).fault = std::move(status);
  }

  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) self(user).calls_.try_emplace(frame->hd.stream_id);
    return 0;
  }

  static int on_header(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name,
                       std::size_t name_size, const std::uint8_t* value, std::size_t value_size, std::uint8_t,
                       void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    Call* call = self(user).find(frame->hd.stream_id);
    if (call == nullptr || call->head == nullptr) return 0;
    call->header_bytes += name_size + value_size + kHeaderOverhead;
    if (call->header_bytes > self(user).limits_.header_bytes) return 0;
    const std::string_view key = text_of(name, name_size);
    std::string* member = key == ":path"           ? &call->head->path
                          : key == ":method"       ? &call->head->method
                          : key == "content-type"  ? &call->head->content_type
                          : key == "grpc-timeout"  ? &call->head->timeout
                          : key == "grpc-encoding" ? &call->head->encoding
                                                   : nullptr;
    if (member != nullptr) member->assign(text_of(value, value_size));
    return 0;
  }

  static int on_data(nghttp2_session* session, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                     std::size_t size, void* user) {
    nghttp2_session_consume_connection(session, size);
    Call* call = self(user).find(id);
    if (call == nullptr) return 0;
    if (!call->ignored) self(user).read(id, *call, {data, size});
    // What is being put together must go on coming, and what nobody wants may: only who leaves whole messages
    // lying is sent no more.
    if (!call->untaken.empty() && !call->ignored) {
      call->withheld += size;
    } else {
      nghttp2_session_consume_stream(session, id, size);
    }
    return 0;
  }

  void read(std::int32_t id, Call& call, std::span<const std::uint8_t> data) {
    call.moved = true;
    if (limits_.budget) {
      if (!limits_.budget->take(data.size(), call.charged + data.size() <= kSmallBytes)) {
        fault(id, call, {Code::kOverloaded, "there is no room now for a message as long as this"});
        return;
      }
      call.charged += data.size();
    }
    std::vector<rpc::MessageReader::Message> whole;
    Status status = call.reader.read(data, limits_.message_bytes, make_message_, whole);
    for (auto& each : whole) {
      call.untaken.push_back(each.message->bytes().size() + rpc::kPrefixBytes);
      RpcEvent& event = tell(RpcEventKind::kMessage, id);
      event.message = std::move(each.message);
      event.compressed = each.compressed;
    }
    if (!status.ok()) fault(id, call, std::move(status));
  }

  static int on_frame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    const bool headers = frame->hd.type == NGHTTP2_HEADERS;
    if (!headers && frame->hd.type != NGHTTP2_DATA) return 0;
    Call* call = self(user).find(frame->hd.stream_id);
    if (call == nullptr) return 0;
    if (headers && call->head) self(user).begin(frame->hd.stream_id, *call);
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) self(user).end(frame->hd.stream_id, *call);
    return 0;
  }

  void begin(std::int32_t id, Call& call) {
    tell(RpcEventKind::kCall, id).head = std::move(call.head);
    if (call.header_bytes > limits_.header_bytes) {
      fault(id, call,
            {Code::kTooLarge, "the headers take " + std::to_string(call.header_bytes) + " bytes; at most " +
                                  std::to_string(limits_.header_bytes) + " are received"});
    }
  }

  void end(std::int32_t id, Call& call) {
    call.ended = true;
    if (call.ignored) return;
    if (call.reader.midway()) {
      fault(id, call, {Code::kInvalidArgument, "the call ended in the middle of a message"});
      return;
    }
    tell(RpcEventKind::kEnd, id);
  }

  // There is more to send.
  void go_on(std::int32_t id, Call& call) {
    if (std::exchange(call.answered, true)) {
      if (std::exchange(call.deferred, false)) nghttp2_session_resume_data(session_.get(), id);
      return;
    }
    const std::array headers{header(":status", "200"), header("content-type", "application/grpc")};
    nghttp2_data_provider provider;
    provider.source.ptr = this;
    provider.read_callback = &Http2::on_room;
    nghttp2_submit_response(session_.get(), id, headers.data(), headers.size(), &provider);
  }

  // nghttp2 has room for `size` bytes of the call.
  static ssize_t on_room(nghttp2_session* session, std::int32_t id, std::uint8_t* room, std::size_t size,
                         std::uint32_t* flags, nghttp2_data_source* source, void*) {
    Call* call = self(source->ptr).find(id);
    if (call == nullptr) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    const auto part = std::min(size, call->out.size() - call->out_sent);
    std::copy_n(call->out.data() + call->out_sent, part, room);
    call->out_sent += part;
    if (call->out_sent == call->out.size()) {
      if (call->trailers) {
        *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
        std::vector<nghttp2_nv> headers;
        for (const auto& [name, value] : *call->trailers) headers.push_back(header(name, value));
        nghttp2_submit_trailer(session, id, headers.data(), headers.size());
      } else if (part == 0) {
        call->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
      }
    }
    return static_cast<ssize_t>(part);
  }

  static int on_frame_sent(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
    if (frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) return 0;
    const Call* call = self(user).find(frame->hd.stream_id);
    if (call != nullptr && !call->ended) {
      // The answer is whole: the client need not go on (RFC 9113, section 8.1).
      nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static int on_close(nghttp2_session*, std::int32_t id, std::uint32_t, void* user) {
    Call* call = self(user).find(id);
    if (call == nullptr) return 0;
    self(user).ignore(*call);
    const bool told = call->head == nullptr;  // else its headers never became whole
    self(user).calls_.erase(id);
    if (told) self(user).tell(RpcEventKind::kClosed, id);
    return 0;
  }

  const RpcLimits limits_;
  const RpcMessageFn make_message_;
  std::unique_ptr<nghttp2_session, rpc::Deleter> session_;
  std::unordered_map<std::int32_t, Call> calls_;
  std::vector<RpcEvent> events_;
};

Result<std::unique_ptr<RpcSession>> RpcSession::create(const RpcLimits& limits, RpcMessageFn make_message) {
  auto http2 = std::make_unique<Http2>(limits, std::move(make_message));
  if (!http2->start()) return Status(Code::kUnavailable, "there is no memory for a connection");
  return std::unique_ptr<RpcSession>(new RpcSession(std::move(http2)));
}

RpcSession::RpcSession(std::unique_ptr<Http2> http2) : http2_(std::move(http2)) {}
RpcSession::~RpcSession() = default;

Status RpcSession::receive(std::span<const std::uint8_t> bytes) { return http2_->receive(bytes); }
std::vector<RpcEvent> RpcSession::take_events() { return http2_->take_events(); }
void RpcSession::taken(std::int32_t call) { http2_->taken(call); }
void RpcSession::send(std::int32_t call, std::span<const std::uint8_t> message) {
  http2_->send(call, message);
}
void RpcSession::finish(std::int32_t call, const RpcHeaders& trailers, std::string_view status) {
  http2_->finish(call, trailers, status);
}
void RpcSession::reset(std::int32_t call) { http2_->reset(call); }
std::vector<std::int32_t> RpcSession::stalled() { return http2_->stalled(); }
std::size_t RpcSession::unsent(std::int32_t call) const { return http2_->unsent(call); }
std::string RpcSession::output() { return http2_->output(); }
void RpcSession::go_away() { http2_->go_away(); }
bool RpcSession::over() const { return http2_->over(); }
std::size_t RpcSession::calls() const { return http2_->calls(); }

}  // namespace floodgate
