// Status and Result<T>: how every part of the core reports failure.
//
// The core throws nothing and aborts nowhere: a function that can fail returns a Status, or a Result<T>
// that holds either a value or a Status. A Status owns its message and is cheap to move. Messages are
// sentences for the person who sent the input or runs the server; they carry no addresses, paths or content.
// Thread rule: values, no shared state.
#pragma once

#include <cassert>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace floodgate {

// The one list of failure kinds. cpp/bind/status.cc maps each to a Python FloodgateError and
// python/floodgate/wire/status.py maps those to gRPC; a test walks every code through both.
enum class Code : std::uint8_t {
  kOk = 0,
  kInvalidContent,    // media or text that cannot be read: the part is UNREADABLE
  kUnsupported,       // a format or feature that is not handled: the part is UNREADABLE
  kTooLarge,          // over a content limit (bytes, pixels, text length): the part is UNREADABLE
  kInvalidArgument,   // the caller broke the contract
  kOverloaded,        // no room now; try again later
  kDeadlineExceeded,  // not finished in time
  kCancelled,         // the caller withdrew the work
  kUnavailable,       // draining, or the inference server is down
  kInternal,          // a defect here
};
inline constexpr Code kLastCode = Code::kInternal;

// The code's name as it appears in logs, stats and Python ("INVALID_CONTENT"); never empty.
std::string_view code_name(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;  // OK
  // REQUIRES: code != kOk. `retry_after_ns`: kOverloaded: when another try may fare better; 0: not known.
  Status(Code code, std::string message, std::int64_t retry_after_ns = 0)
      : code_(code), message_(std::move(message)), retry_after_ns_(retry_after_ns) {}

  [[nodiscard]] bool ok() const { return code_ == Code::kOk; }
  [[nodiscard]] Code code() const { return code_; }
  [[nodiscard]] const std::string& message() const { return message_; }
  [[nodiscard]] std::int64_t retry_after_ns() const { return retry_after_ns_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
  std::int64_t retry_after_ns_ = 0;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  // Implicit on purpose: `return value;` and `return Status(...)` both read well.
  Result(T value) : value_(std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(Status status) : status_(std::move(status)) {  // NOLINT(google-explicit-constructor)
    assert(!status_.ok());
  }

  [[nodiscard]] bool ok() const { return value_.has_value(); }
  [[nodiscard]] const Status& status() const { return status_; }
  // REQUIRES: ok().
  [[nodiscard]] const T& value() const& { return *value_; }
  [[nodiscard]] T& value() & { return *value_; }
  [[nodiscard]] T&& value() && { return *std::move(value_); }

 private:
  std::optional<T> value_;
  Status status_;
};

}  // namespace floodgate
