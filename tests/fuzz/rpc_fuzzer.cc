// What a gRPC client sends: nothing that is read leaves its bounds, and every call's events come in order,
// whatever the bytes.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "checked_sink.h"
#include "floodgate/rpc_session.h"

namespace {

using namespace floodgate;  // NOLINT(google-build-using-namespace)

constexpr std::uint32_t kMessageBytes = 1 << 16;

class Bytes final : public RpcMessage {
 public:
  explicit Bytes(std::size_t size) : bytes_(size) {}
  std::span<std::uint8_t> bytes() override { return bytes_; }

 private:
  std::vector<std::uint8_t> bytes_;
};

// What may follow in a call.
enum class Phase : std::uint8_t { kOpen, kSaidAll };

void check(RpcSession& session, std::map<std::int32_t, Phase>& calls, std::uint8_t what) {
  for (RpcEvent& event : session.take_events()) {
    if (event.kind == RpcEventKind::kCall) {
      fuzzing::require(event.head != nullptr && calls.try_emplace(event.call, Phase::kOpen).second);
      continue;
    }
    const auto call = calls.find(event.call);
    fuzzing::require(call != calls.end());
    if (event.kind == RpcEventKind::kClosed) {
      calls.erase(call);
      continue;
    }
    fuzzing::require(call->second == Phase::kOpen);
    if (event.kind == RpcEventKind::kMessage) {
      fuzzing::require(event.message != nullptr && event.message->bytes().size() <= kMessageBytes);
      if (what % 2 == 0) session.taken(event.call);
      session.send(event.call, event.message->bytes());
      continue;
    }
    fuzzing::require((event.kind == RpcEventKind::kFault) == !event.fault.ok());
    call->second = Phase::kSaidAll;
    if (what % 3 != 0) session.finish(event.call, {{"grpc-status", "0"}});
  }
}

}  // namespace

// The first byte says in how large pieces the rest arrives, and what is done with it.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = std::size_t{data[0]} + 1;
  auto session = RpcSession::create({kMessageBytes, 4096, 16, std::make_shared<RpcBudget>(kMessageBytes)},
                                    [](std::size_t bytes) { return std::make_unique<Bytes>(bytes); })
                     .value();
  std::map<std::int32_t, Phase> calls;
  for (auto rest = std::span(data, size).subspan(1); !rest.empty();) {
    const auto part = rest.first(std::min(piece, rest.size()));
    rest = rest.subspan(part.size());
    const bool read = session->receive(part).ok();
    check(*session, calls, data[0]);
    session->output();
    check(*session, calls, data[0]);
    if (!read) break;
  }
  session->go_away();
  session->output();
  return 0;
}
