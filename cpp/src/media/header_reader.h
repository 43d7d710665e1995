// Bounds-checked reads of a header, with a budget.
//
// Every byte that is looked at counts against a budget (kProbeBytes for the probe), so a header made of
// millions of tiny parts costs no more than an honest one. A failed read returns nothing and says why through
// exhausted(). Borrows the data. Thread rule: one reader, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "floodgate/media.h"

namespace floodgate {

enum class ByteOrder : std::uint8_t { kBig, kLittle };

class HeaderReader {
 public:
  // `budget`: bytes that may be looked at.
  explicit HeaderReader(std::span<const std::uint8_t> data, std::size_t budget = kProbeBytes)
      : data_(data), left_(budget) {}

  [[nodiscard]] std::size_t size() const { return data_.size(); }
  // Whether a read failed because the budget ran out rather than the data.
  [[nodiscard]] bool exhausted() const { return exhausted_; }

  // An unsigned integer of 1 to 4 bytes at `at`.
  [[nodiscard]] std::optional<std::uint32_t> number(std::size_t at, std::size_t bytes, ByteOrder order) {
    if (!take(at, bytes)) return std::nullopt;
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) {
      const std::size_t place = order == ByteOrder::kBig ? bytes - 1 - i : i;
      value |= std::uint32_t{data_[at + i]} << (8 * place);
    }
    return value;
  }
  [[nodiscard]] std::optional<std::uint32_t> u8(std::size_t at) { return number(at, 1, ByteOrder::kBig); }
  [[nodiscard]] std::optional<std::uint32_t> be16(std::size_t at) { return number(at, 2, ByteOrder::kBig); }
  [[nodiscard]] std::optional<std::uint32_t> be32(std::size_t at) { return number(at, 4, ByteOrder::kBig); }
  [[nodiscard]] std::optional<std::uint32_t> le16(std::size_t at) {
    return number(at, 2, ByteOrder::kLittle);
  }
  [[nodiscard]] std::optional<std::uint32_t> le24(std::size_t at) {
    return number(at, 3, ByteOrder::kLittle);
  }
  [[nodiscard]] std::optional<std::uint32_t> le32(std::size_t at) {
    return number(at, 4, ByteOrder::kLittle);
  }

  // 8 bytes, for the long sizes of the ISO base media format.
  [[nodiscard]] std::optional<std::uint64_t> be64(std::size_t at) {
    const auto high = be32(at);
    const auto low = be32(at + 4);
    if (!high || !low) return std::nullopt;
    return std::uint64_t{*high} << 32 | *low;
  }

  // How many bytes may still be looked at.
  [[nodiscard]] std::size_t budget() const { return left_; }

  // `bytes` bytes at `at` as text; nothing past the end or beyond the budget.
  [[nodiscard]] std::optional<std::string_view> text(std::size_t at, std::size_t bytes) {
    if (!take(at, bytes)) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(data_.data()) + at, bytes);
  }

  // Whether the bytes at `at` are exactly `text`; false past the end.
  [[nodiscard]] bool matches(std::size_t at, std::string_view text) {
    return take(at, text.size()) && std::memcmp(data_.data() + at, text.data(), text.size()) == 0;
  }

  // What to tell the sender after a failed read. `what`: "JPEG".
  [[nodiscard]] Status failure(const char* what) const {
    const std::string name(what);
    if (exhausted_) {
      return {Code::kInvalidContent, "the " + name + " header is spread over more than 64 KB of markers"};
    }
    return {Code::kInvalidContent, "the " + name + " data is truncated: it ends inside the header"};
  }

 private:
  bool take(std::size_t at, std::size_t bytes) {
    if (at > data_.size() || bytes > data_.size() - at) return false;
    if (bytes > left_) {
      exhausted_ = true;
      return false;
    }
    left_ -= bytes;
    return true;
  }

  const std::span<const std::uint8_t> data_;
  std::size_t left_;
  bool exhausted_ = false;
};

}  // namespace floodgate
