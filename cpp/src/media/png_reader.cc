#include "png_reader.h"

#include <spng.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "pixels.h"
#include "png_chunks.h"
#include "strip.h"

namespace floodgate {
namespace {

constexpr std::uint8_t kIndexed = SPNG_COLOR_TYPE_INDEXED;

struct FreeContext {
  void operator()(spng_ctx* context) const { spng_ctx_free(context); }
};
using Context = std::unique_ptr<spng_ctx, FreeContext>;

Status failure(int error) {
  switch (error) {
    case SPNG_IO_EOF:
    case SPNG_EIDAT_TOO_SHORT:
      return {Code::kInvalidContent, "the PNG picture is truncated: its data ends before its last row"};
    case SPNG_EMEM:
      return {Code::kOverloaded, "there is no memory to decode the PNG picture"};
    default:
      return {Code::kInvalidContent, std::string("the PNG picture is corrupt: ") + spng_strerror(error)};
  }
}

void put_be32(std::vector<std::uint8_t>& to, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to.push_back(static_cast<std::uint8_t>(value >> shift));
}

// A chunk with a checksum of zeros: libspng is told not to look at it.
void put_chunk(std::vector<std::uint8_t>& to, std::string_view type, std::span<const std::uint8_t> body) {
  put_be32(to, static_cast<std::uint32_t>(body.size()));
  to.insert(to.end(), type.begin(), type.end());
  to.insert(to.end(), body.begin(), body.end());
  put_be32(to, 0);
}

// Whether the chunk's checksum is there and right.
bool intact(std::span<const std::uint8_t> data, const PngChunk& chunk) {
  if (chunk.cut || chunk.next > data.size()) return false;
  const auto crc = crc32_z(0, data.data() + chunk.at + 4, chunk.body.size() + 4);
  return crc == read_be32(data.data() + chunk.next - 4);
}

}  // namespace

// The small PNG that libspng reads.
class PngReader::Feed {
 public:
  Feed(std::span<const std::uint8_t> data, const PngPixels& pixels, const PngReader& reader)
      : data_(data), next_(pixels.at), type_(pixels.frame ? chunk_type("fdAT") : chunk_type("IDAT")) {
    constexpr std::uint8_t kMagic[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    piece_.assign(std::begin(kMagic), std::end(kMagic));
    std::vector<std::uint8_t> header;
    put_be32(header, pixels.width);
    put_be32(header, pixels.height);
    header.push_back(reader.bits_);
    header.push_back(reader.color_type_);
    header.push_back(0);
    header.push_back(0);
    header.push_back(reader.interlaced_ ? 1 : 0);
    put_chunk(piece_, "IHDR", header);
    if (reader.color_type_ == kIndexed) {
      // Any palette will do: colours are looked up here.
      put_chunk(piece_, "PLTE", std::vector<std::uint8_t>(std::size_t{3} << reader.bits_));
    } else if (!reader.trns_.empty()) {
      put_chunk(piece_, "tRNS", reader.trns_);
    }
    rest_ = piece_;
  }

  int read(std::uint8_t* to, std::size_t bytes) {
    while (bytes > 0) {
      if (rest_.empty() && !advance()) return SPNG_IO_EOF;
      const std::size_t count = std::min(bytes, rest_.size());
      if (count > 0) std::memcpy(to, rest_.data(), count);
      rest_ = rest_.subspan(count);
      to += count;
      bytes -= count;
    }
    return 0;
  }

 private:
  enum class Part : std::uint8_t { kPrefix, kHeader, kBody, kChecksum, kEnd };

  // Goes on to the next piece; false at the end.
  bool advance() {
    switch (part_) {
      case Part::kPrefix:
      case Part::kChecksum:
        return next_header();
      case Part::kHeader:
        part_ = Part::kBody;
        rest_ = body_;
        return true;
      case Part::kBody:
        part_ = Part::kChecksum;
        piece_.assign(4, 0);
        rest_ = piece_;
        return true;
      case Part::kEnd:
        break;
    }
    return false;
  }

  bool next_header() {
    const auto chunk = png_chunk_at(data_, next_);
    const std::size_t numbering = type_ == chunk_type("fdAT") ? 4 : 0;
    part_ = Part::kEnd;
    if (!chunk || chunk->type != type_ || chunk->body.size() < numbering) return false;
    part_ = Part::kHeader;
    body_ = chunk->body.subspan(numbering);
    next_ = chunk->next;
    piece_.clear();
    put_be32(piece_, static_cast<std::uint32_t>(body_.size()));  // of what is there, where the data is cut
    constexpr std::string_view kType = "IDAT";
    piece_.insert(piece_.end(), kType.begin(), kType.end());
    rest_ = piece_;
    return true;
  }

  const std::span<const std::uint8_t> data_;
  std::size_t next_;
  const std::uint32_t type_;
  Part part_ = Part::kPrefix;
  std::vector<std::uint8_t> piece_;
  std::span<const std::uint8_t> body_;
  std::span<const std::uint8_t> rest_;
};

Result<PngReader> PngReader::open(std::span<const std::uint8_t> data) {
  PngReader reader(data);
  if (Status status = reader.read_shared(); !status.ok()) return status;
  return reader;
}

Status PngReader::read_shared() {
  const auto header = png_chunk_at(data_, 8);
  if (!header || header->type != chunk_type("IHDR") || header->body.size() != 13) {
    return {Code::kInvalidContent, "the PNG data does not start with an IHDR chunk"};
  }
  if (!intact(data_, *header)) {
    return {Code::kInvalidContent, "the PNG picture is corrupt: its header has a wrong checksum"};
  }
  const std::uint8_t* const fields = header->body.data();
  main_.width = read_be32(fields);
  main_.height = read_be32(fields + 4);
  bits_ = fields[8];
  color_type_ = fields[9];
  interlaced_ = fields[12] == 1;
  std::span<const std::uint8_t> palette;
  std::span<const std::uint8_t> transparent;
  for (std::size_t at = kPngHeaderBytes;;) {
    const auto chunk = png_chunk_at(data_, at);
    if (!chunk || chunk->type == chunk_type("IEND")) return failure(SPNG_IO_EOF);
    if (chunk->type == chunk_type("IDAT")) {
      main_.at = at;
      break;
    }
    if (chunk->type == chunk_type("PLTE")) {
      if (!intact(data_, *chunk)) {
        return {Code::kInvalidContent, "the PNG picture is corrupt: its palette has a wrong checksum"};
      }
      palette = chunk->body;
    } else if (chunk->type == chunk_type("tRNS") && intact(data_, *chunk)) {
      transparent = chunk->body;  // a damaged one is dropped, as browsers do
    }
    at = chunk->next;
  }
  if (color_type_ == kIndexed) {
    set_palette(palette, transparent);
    channels_ = transparent.empty() ? 3 : 4;
  } else if (color_type_ == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA ||
             color_type_ == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA) {
    channels_ = 4;
  } else if (!transparent.empty()) {
    const std::size_t bytes = color_type_ == SPNG_COLOR_TYPE_TRUECOLOR ? 6 : 2;
    if (transparent.size() < bytes) {
      return {Code::kInvalidContent, "the PNG picture is corrupt: its transparent colour is cut short"};
    }
    trns_.assign(transparent.begin(), transparent.begin() + static_cast<std::ptrdiff_t>(bytes));
    channels_ = 4;
  }
  return {};
}

// Indices beyond the palette are black, as in Pillow.
void PngReader::set_palette(std::span<const std::uint8_t> palette, std::span<const std::uint8_t> alphas) {
  for (std::size_t i = 0; i < colors_.size(); ++i) {
    colors_[i] = {0, 0, 0, 255};
    if (3 * i + 3 <= palette.size()) {
      colors_[i] = {palette[3 * i], palette[3 * i + 1], palette[3 * i + 2], 255};
    }
    if (i < alphas.size()) colors_[i][3] = alphas[i];
  }
}

std::size_t PngReader::row_bytes(std::uint32_t width) const {
  return color_type_ == kIndexed ? (std::size_t{width} * bits_ + 7) / 8 : std::size_t{channels_} * width;
}

void PngReader::convert_row(const std::uint8_t* row, std::uint32_t width, std::uint8_t* to) const {
  if (color_type_ != kIndexed) {
    std::memcpy(to, row, std::size_t{channels_} * width);
    return;
  }
  const std::uint32_t mask = (1U << bits_) - 1;
  const std::uint32_t per_byte = 8U / bits_;
  for (std::uint32_t x = 0; x < width; ++x) {
    const std::uint32_t shift = bits_ * (per_byte - 1 - x % per_byte);
    to = std::copy_n(colors_[row[x / per_byte] >> shift & mask].begin(), channels_, to);
  }
}

// Adam7 passes touch every row, so all rows exist before the first is pushed.
Status PngReader::decode_whole(void* context, const PngPixels& pixels, int format, StripWriter& strip) const {
  const std::size_t stride = row_bytes(pixels.width);
  auto memory = allocate_zeroed(stride * pixels.height);
  if (!memory.ok()) return memory.status();
  std::uint8_t* const rows = memory.value().get();
  if (const int error = spng_decode_image(static_cast<spng_ctx*>(context), rows, stride * pixels.height,
                                          format, trns_.empty() ? 0 : SPNG_DECODE_TRNS)) {
    return failure(error);
  }
  for (std::uint32_t y = 0; y < pixels.height; ++y) {
    convert_row(rows + stride * y, pixels.width, strip.row());
    strip.done();
  }
  return {};
}

Status PngReader::decode_rows(void* context, const PngPixels& pixels, int format, StripWriter& strip) const {
  auto* const png = static_cast<spng_ctx*>(context);
  const int flags = SPNG_DECODE_PROGRESSIVE | (trns_.empty() ? 0 : SPNG_DECODE_TRNS);
  if (const int error = spng_decode_image(png, nullptr, 0, format, flags)) return failure(error);
  const std::size_t stride = row_bytes(pixels.width);
  Bytes indices;
  if (color_type_ == kIndexed) {
    auto memory = allocate_bytes(stride);
    if (!memory.ok()) return memory.status();
    indices = std::move(memory).value();
  }
  for (std::uint32_t y = 0; y < pixels.height; ++y) {
    const int error = spng_decode_row(png, indices ? indices.get() : strip.row(), stride);
    if (error != 0 && !(error == SPNG_EOI && y + 1 == pixels.height)) return failure(error);
    if (indices) convert_row(indices.get(), pixels.width, strip.row());
    strip.done();
  }
  return {};
}

Status PngReader::decode(const PngPixels& pixels, std::uint8_t orientation, RowSink& sink) const {
  const Context context(spng_ctx_new(0));
  if (!context) return failure(SPNG_EMEM);
  spng_set_image_limits(context.get(), pixels.width, pixels.height);
  // Pixels with a wrong checksum are shown as they are, as Pillow shows them.
  spng_set_crc_action(context.get(), SPNG_CRC_USE, SPNG_CRC_USE);
  Feed feed(data_, pixels, *this);
  const int set = spng_set_png_stream(
      context.get(),
      [](spng_ctx*, void* user, void* to, std::size_t bytes) {
        return static_cast<Feed*>(user)->read(static_cast<std::uint8_t*>(to), bytes);
      },
      &feed);
  if (set != 0) return failure(set);
  spng_ihdr header{};
  if (const int error = spng_get_ihdr(context.get(), &header)) return failure(error);

  StripWriter strip(sink);
  if (Status begun = strip.begin({pixels.width, pixels.height, orientation, channels_}); !begun.ok()) {
    return begun;
  }
  const int format = color_type_ == kIndexed ? SPNG_FMT_PNG : channels_ == 4 ? SPNG_FMT_RGBA8 : SPNG_FMT_RGB8;
  return interlaced_ ? decode_whole(context.get(), pixels, format, strip)
                     : decode_rows(context.get(), pixels, format, strip);
}

}  // namespace floodgate
