#include "hevc_header.h"

#include <algorithm>
#include <string_view>

namespace floodgate {
namespace {

constexpr std::uint32_t kSequenceParameterSet = 33;
constexpr std::size_t kFixedBytes = 22;
constexpr std::size_t kMaxSetBytes = 256;  // the size comes long before

// Bits of a NAL unit, most significant first, without the bytes that only prevent start codes (7.3.1.1). Past
// the end it reads zeros and says so.
class BitReader {
 public:
  explicit BitReader(std::string_view unit) : unit_(unit) {}

  std::uint32_t bit() {
    if (left_ == 0) {
      if (at_ + 2 < unit_.size() && at_ >= 2 && unit_[at_] == 3 && unit_[at_ - 1] == 0 &&
          unit_[at_ - 2] == 0) {
        ++at_;
      }
      if (at_ >= unit_.size()) {
        ended_ = true;
        return 0;
      }
      current_ = static_cast<unsigned char>(unit_[at_++]);
      left_ = 8;
    }
    --left_;
    return current_ >> left_ & 1;
  }
  std::uint32_t bits(std::uint32_t count) {
    std::uint32_t value = 0;
    for (std::uint32_t i = 0; i < count; ++i) value = value << 1 | bit();
    return value;
  }
  void skip(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) bit();
  }
  // Exp-Golomb (9.2).
  std::uint32_t golomb() {
    std::uint32_t zeros = 0;
    while (bit() == 0) {
      if (ended_ || ++zeros > 31) {
        ended_ = true;
        return 0;
      }
    }
    return (1U << zeros) - 1 + bits(zeros);
  }
  [[nodiscard]] bool ended() const { return ended_; }

 private:
  const std::string_view unit_;
  std::size_t at_ = 0;
  std::uint32_t current_ = 0;
  std::uint32_t left_ = 0;
  bool ended_ = false;
};

std::optional<CodedSize> size_in(std::string_view unit) {
  constexpr std::uint32_t kProfileBits = 88;
  constexpr std::uint32_t kLevelBits = 8;
  BitReader reader(unit);
  reader.skip(16 + 4);
  const std::uint32_t sub_layers = reader.bits(3);
  reader.skip(1 + kProfileBits + kLevelBits);
  std::uint32_t sub_layer_bits = 0;
  for (std::uint32_t i = 0; i < (sub_layers > 0 ? 8U : 0U); ++i) {
    const bool profile = reader.bit() != 0;
    const bool level = reader.bit() != 0;
    if (i < sub_layers) sub_layer_bits += (profile ? kProfileBits : 0) + (level ? kLevelBits : 0);
  }
  reader.skip(sub_layer_bits);
  reader.golomb();
  if (reader.golomb() == 3) reader.skip(1);
  CodedSize size;
  size.width = reader.golomb();
  size.height = reader.golomb();
  if (reader.ended()) return std::nullopt;
  return size;
}

}  // namespace

std::optional<CodedSize> hevc_coded_size(HeaderReader& reader, std::size_t begin, std::size_t end) {
  std::optional<CodedSize> largest;
  if (end < begin || end - begin <= kFixedBytes) return largest;
  const std::uint32_t arrays = reader.u8(begin + kFixedBytes).value_or(0);
  std::size_t at = begin + kFixedBytes + 1;
  for (std::uint32_t i = 0; i < arrays; ++i) {
    const auto type = reader.u8(at);
    const auto units = reader.be16(at + 1);
    if (!type || !units) return largest;
    at += 3;
    for (std::uint32_t k = 0; k < *units; ++k) {
      const auto length = reader.be16(at);
      at += 2;
      if (!length || at > end || *length > end - at) return largest;
      if ((*type & 0x3F) == kSequenceParameterSet) {
        const auto unit = reader.text(at, std::min<std::size_t>(*length, kMaxSetBytes));
        const auto size = unit ? size_in(*unit) : std::nullopt;
        if (size && (!largest || std::uint64_t{size->width} * size->height >
                                     std::uint64_t{largest->width} * largest->height)) {
          largest = size;
        }
      }
      at += *length;
    }
  }
  return largest;
}

}  // namespace floodgate
