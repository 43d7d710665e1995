// BMP by our own hand: plain rows straight from the data, run lengths through an array of indices. Pixels
// equal Pillow's, down to how it reads run lengths that leave their row.
#include <algorithm>
#include <array>
#include <limits>

#include "bmp_header.h"
#include "decoder.h"
#include "strip.h"

namespace floodgate {
namespace {

using Colors = std::array<std::array<std::uint8_t, 3>, 256>;

Status truncated() {
  return {Code::kInvalidContent, "the BMP picture is truncated: its data ends before its last row"};
}

// Indices beyond the palette are black, as in Pillow.
Colors read_colors(Encoded data, const BmpHeader& header) {
  Colors colors{};
  for (std::size_t i = 0; i < colors.size(); ++i) {
    const std::size_t at = header.palette_at + i * header.palette_entry_bytes;
    if (i < header.palette_entries && at + 3 <= data.size()) {
      colors[i] = {data[at + 2], data[at + 1], data[at]};
    }
  }
  return colors;
}

void map_indices(const std::uint8_t* row, std::uint32_t bits, std::uint32_t width, const Colors& colors,
                 std::uint8_t* to) {
  const std::uint32_t mask = (1U << bits) - 1;
  const std::uint32_t per_byte = 8 / bits;
  for (std::uint32_t x = 0; x < width; ++x) {
    const std::uint32_t shift = bits * (per_byte - 1 - x % per_byte);
    to = std::copy_n(colors[row[x / per_byte] >> shift & mask].begin(), 3, to);
  }
}

// 5 and 6 bits to 8, as Pillow scales them: value * 255 / largest, rounded down.
void expand_16(const std::uint8_t* row, std::uint32_t green_bits, std::uint32_t width, std::uint8_t* to) {
  const std::uint32_t green_max = (1U << green_bits) - 1;
  for (std::uint32_t x = 0; x < width; ++x, row += 2) {
    const std::uint32_t pixel = row[0] | std::uint32_t{row[1]} << 8;
    *to++ = static_cast<std::uint8_t>((pixel >> (5 + green_bits) & 31) * 255 / 31);
    *to++ = static_cast<std::uint8_t>((pixel >> 5 & green_max) * 255 / green_max);
    *to++ = static_cast<std::uint8_t>((pixel & 31) * 255 / 31);
  }
}

void pick_bytes(const std::uint8_t* row, const BmpHeader& header, std::uint8_t* to) {
  const std::size_t step = header.bits / 8;
  const std::size_t channels = header.has_alpha() ? 4 : 3;
  for (std::uint32_t x = 0; x < header.width; ++x) {
    for (std::size_t c = 0; c < channels; ++c) *to++ = row[static_cast<std::uint8_t>(header.byte_of[c])];
    row += step;
  }
}

void convert_row(const std::uint8_t* row, const BmpHeader& header, const Colors& colors, std::uint8_t* to) {
  switch (header.pixel) {
    case BmpHeader::Pixel::kIndex:
      map_indices(row, header.bits, header.width, colors, to);
      break;
    case BmpHeader::Pixel::k555:
      expand_16(row, 5, header.width, to);
      break;
    case BmpHeader::Pixel::k565:
      expand_16(row, 6, header.width, to);
      break;
    case BmpHeader::Pixel::kBytes:
      pick_bytes(row, header, to);
      break;
  }
}

// Unpacks run lengths into one index a pixel, in the order of the file.
class RunLengths {
 public:
  RunLengths(Encoded data, std::size_t at, bool nibbles, std::uint32_t width, std::span<std::uint8_t> pixels)
      : data_(data), at_(at), nibbles_(nibbles), width_(width), pixels_(pixels) {}

  // False when they end before the last pixel.
  bool unpack() {
    while (filled_ < pixels_.size()) {
      if (at_ > data_.size() || data_.size() - at_ < 2) return false;
      const std::uint8_t count = data_[at_];
      const std::uint8_t value = data_[at_ + 1];
      at_ += 2;
      if (count > 0) {
        run(count, value);
      } else if (value == 0) {  // end of the row
        put_blank((width_ - filled_ % width_) % width_);
        x_ = 0;
      } else if (value == 1) {  // end of the picture
        return false;
      } else if (value == 2) {  // move right and up
        if (data_.size() - at_ < 2) return false;
        put_blank(data_[at_] + std::size_t{data_[at_ + 1]} * width_);
        at_ += 2;
        x_ = filled_ % width_;
      } else if (!literal(value)) {
        return filled_ == pixels_.size();
      }
    }
    return true;
  }

 private:
  void put(std::uint8_t value) {
    if (filled_ < pixels_.size()) pixels_[filled_++] = value;
  }
  void put_blank(std::size_t count) {
    count = std::min(count, pixels_.size() - filled_);
    std::fill_n(pixels_.begin() + static_cast<std::ptrdiff_t>(filled_), count, std::uint8_t{0});
    filled_ += count;
  }

  // Runs are cut at the end of their row.
  void run(std::size_t count, std::uint8_t value) {
    count = std::min(count, x_ < width_ ? width_ - x_ : 0);
    for (std::size_t i = 0; i < count; ++i) put(nibbles_ ? (i % 2 == 0 ? value >> 4 : value & 15) : value);
    x_ += count;
  }

  // False when the data or the picture ends.
  bool literal(std::size_t declared) {
    const std::size_t count = std::min(declared, pixels_.size() - filled_);
    const std::size_t bytes = nibbles_ ? (count + 1) / 2 : count;
    const std::size_t there = std::min(bytes, data_.size() - at_);
    for (std::size_t i = 0; i < (there == bytes ? count : there * (nibbles_ ? 2 : 1)); ++i) {
      const std::uint8_t byte = data_[at_ + (nibbles_ ? i / 2 : i)];
      put(nibbles_ ? (i % 2 == 0 ? byte >> 4 : byte & 15) : byte);
    }
    at_ += there;
    if (there < bytes || filled_ == pixels_.size()) return false;
    x_ += declared;
    at_ += at_ % 2;  // literals end on an even place in the file
    return true;
  }

  const Encoded data_;
  std::size_t at_;
  const bool nibbles_;
  const std::size_t width_;
  const std::span<std::uint8_t> pixels_;
  std::size_t filled_ = 0;
  std::size_t x_ = 0;  // in the row, as runs count it
};

Status decode_runs(Encoded data, const BmpHeader& header, const Colors& colors, StripWriter& strip) {
  const std::size_t pixels = std::size_t{header.width} * header.height;
  auto memory = allocate_bytes(pixels);
  if (!memory.ok()) return memory.status();
  std::uint8_t* const indices = memory.value().get();
  RunLengths runs(data, header.pixels_at, header.coding == BmpHeader::Coding::kRle4, header.width,
                  {indices, pixels});
  if (!runs.unpack()) return truncated();
  for (std::uint32_t y = 0; y < header.height; ++y) {
    const std::size_t row = header.top_down ? y : header.height - 1 - y;
    map_indices(indices + row * header.width, 8, header.width, colors, strip.row());
    strip.done();
  }
  return {};
}

Status decode_plain(Encoded data, const BmpHeader& header, const Colors& colors, StripWriter& strip) {
  const std::uint64_t row_bytes = header.row_bytes();
  for (std::uint32_t y = 0; y < header.height; ++y) {
    const std::uint64_t row = header.top_down ? y : header.height - 1 - y;
    convert_row(data.data() + header.pixels_at + row * row_bytes, header, colors, strip.row());
    strip.done();
  }
  return {};
}

}  // namespace

Status decode_bmp(Encoded data, const MediaInfo& info, const MediaLimits& /*limits*/,
                  const DecodeOptions& /*options*/, RowSink& sink) {
  HeaderReader reader(data);
  const auto read = read_bmp(reader);
  if (!read.ok()) return read.status();
  const BmpHeader& header = read.value();
  if (header.width != info.width || header.height != info.height) return header_mismatch(info.format);
  if (header.coding == BmpHeader::Coding::kPlain) {
    // Before anything is allocated. The last row's padding may be missing.
    const std::uint64_t used = (std::uint64_t{header.width} * header.bits + 7) / 8;
    const std::uint64_t bytes = header.row_bytes() * (header.height - 1) + used;
    if (header.pixels_at > data.size() || bytes > data.size() - header.pixels_at) return truncated();
  }
  const Colors colors = read_colors(data, header);
  const std::uint8_t channels = header.has_alpha() ? 4 : 3;
  StripWriter strip(sink);
  if (Status begun = strip.begin({header.width, header.height, info.orientation, channels}); !begun.ok()) {
    return begun;
  }
  return header.coding == BmpHeader::Coding::kPlain ? decode_plain(data, header, colors, strip)
                                                    : decode_runs(data, header, colors, strip);
}

}  // namespace floodgate
