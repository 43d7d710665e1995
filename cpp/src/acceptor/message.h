// What an acceptor and the scheduler's process tell one another, over a stream socket.
//
//     acceptor -> scheduler   kSubmit, kCancel
//     scheduler -> acceptor   kReady, then for each kSubmit either one kRefused, or one kAnswer and one
//     kReleased
//
// A message is a Header and `bytes` bytes of plain data. Both ends are of one build, on one machine. An
// acceptor parses what strangers send, so nothing it says is trusted: what it submits has a fixed layout of
// integers, is copied before it is looked at, and every number is checked (read_submit). Thread rule: values.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "floodgate/batch.h"
#include "floodgate/scheduler.h"

namespace floodgate::acceptor {

enum class Kind : std::uint32_t { kSubmit = 1, kCancel, kReady, kAnswer, kRefused, kReleased };

struct Header {
  std::uint32_t kind = 0;
  std::uint32_t bytes = 0;
};

inline constexpr std::uint32_t kMostRequestBytes = 256;        // of what an acceptor sends
inline constexpr std::uint32_t kMostAnswerBytes = 256U << 20;  // of what it is sent

// MediaInfo in integers only: a bool or an enum of unknown bits may not even be looked at.
struct MediaFields {
  std::int64_t decode_cost_ns = 0;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::uint32_t frames = 0;
  std::uint32_t duration_ms = 0;
  std::uint8_t format = 0;
  std::uint8_t orientation = 0;
  std::uint8_t undo = 0;
  std::uint8_t bits = 0;
  std::uint8_t channels = 0;
  std::uint8_t has_alpha = 0;
  std::uint8_t progressive = 0;
  std::uint8_t unused = 0;
};

struct SubmitFields {
  std::uint64_t ticket = 0;  // the acceptor's
  std::uint64_t offset = 0;  // in the acceptor's arena
  std::uint64_t size = 0;
  std::int64_t deadline_ns = 0;
  std::uint64_t seed = 0;
  std::uint32_t max_frames = 0;
  std::uint32_t min_interval_ms = 0;
  std::uint32_t ensembles = 0;  // bit i: the hub's i-th
  std::uint8_t modality = 0;
  std::uint8_t lane = 0;
  std::uint16_t unused = 0;
  MediaFields info;  // pictures and videos
};
static_assert(std::is_trivially_copyable_v<SubmitFields> && sizeof(SubmitFields) <= kMostRequestBytes);
static_assert(std::has_unique_object_representations_v<SubmitFields>, "no padding: nothing is sent unset");

struct TicketFields {  // kCancel
  std::uint64_t ticket = 0;
};

struct DigestFields {
  std::uint64_t known = 0;
  Sha256 sha256{};
};

struct ReleasedFields {
  std::uint64_t ticket = 0;
  DigestFields digest;  // the answer may never come
};

DigestFields fields_of(const std::optional<Sha256>& digest);
std::optional<Sha256> digest_of(const DigestFields& fields);

MediaFields fields_of(const MediaInfo& info);

// What an acceptor's submission is checked against.
struct Bounds {
  std::size_t ensembles = 0;  // that are served, at most kMaxEnsembles
  std::uint64_t arena_bytes = 0;
  MediaLimits media;
};

// Errors: kInvalidArgument for what no sound acceptor sends. `submission` gets everything but ticket,
// ensembles, data and submitter.
Status read_submit(const SubmitFields& fields, const Bounds& bounds, Submission& submission);

// Appends messages to a buffer.
class Packer {
 public:
  explicit Packer(std::vector<std::uint8_t>& out) : out_(out) {}
  void submit(const SubmitFields& fields) { plain(Kind::kSubmit, fields); }
  void cancel(std::uint64_t ticket) { plain(Kind::kCancel, TicketFields{ticket}); }
  void released(std::uint64_t ticket, const std::optional<Sha256>& digest) {
    plain(Kind::kReleased, ReleasedFields{ticket, fields_of(digest)});
  }
  void ready(bool is_ready) { plain(Kind::kReady, std::uint64_t{is_ready}); }
  void refused(std::uint64_t ticket, const Status& status);
  // `ensembles`: names, in the order in which the acceptor knows them.
  void answer(std::uint64_t ticket, const Done& done, std::span<const std::string> ensembles);

 private:
  template <typename T>
  void plain(Kind kind, const T& fields) {
    begin(kind);
    put(fields);
    end();
  }
  void begin(Kind kind);
  void end();
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    put_bytes(&value, sizeof value);
  }
  void put_bytes(const void* bytes, std::size_t size);
  void put_text(std::string_view text);  // at most 65,535 bytes of it
  void put_scores(const RowScores& scores, std::span<const std::string> ensembles);

  std::vector<std::uint8_t>& out_;
  std::size_t begun_ = 0;
};

using Ensembles = std::vector<std::shared_ptr<const EnsembleConfig>>;

// kRefused and kAnswer as the one Done of a ticket. Errors: kInternal (it cannot be read).
Result<Done> read_refused(std::span<const std::uint8_t> bytes);
Result<Done> read_answer(std::span<const std::uint8_t> bytes, const Ensembles& ensembles);

// Plain data of exactly T's size; false when there are more bytes or fewer.
template <typename T>
bool read_plain(std::span<const std::uint8_t> bytes, T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (bytes.size() != sizeof value) return false;
  std::memcpy(&value, bytes.data(), sizeof value);
  return true;
}

}  // namespace floodgate::acceptor
