// PNG through libspng: 8-bit RGB straight into the picture, or RGBA composited on white. Samples of 16 bits
// keep their high byte; 1, 2 and 4-bit grey is scaled to 0..255.
#include <spng.h>

#include <memory>
#include <string>
#include <utility>

#include "decoder.h"
#include "pixels.h"

namespace floodgate {
namespace {

constexpr std::size_t kMaxChunkBytes = 32ULL << 20;   // one ancillary chunk, after decompression
constexpr std::size_t kMaxCachedBytes = 64ULL << 20;  // all of them

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
    case SPNG_ECHUNK_LIMITS:
      return {Code::kTooLarge, "the PNG picture carries more than " + std::to_string(kMaxChunkBytes >> 20) +
                                   " MiB of metadata"};
    default:
      return {Code::kInvalidContent, std::string("the PNG picture is corrupt: ") + spng_strerror(error)};
  }
}

bool agrees(const spng_ihdr& header, const MediaInfo& info) {
  return header.width == info.width && header.height == info.height && header.bit_depth == info.bits &&
         (header.interlace_method == SPNG_INTERLACE_ADAM7) == info.progressive;
}

// Row by row, so that only one row of RGBA exists at a time. REQUIRES: not interlaced.
Status read_rows_with_alpha(spng_ctx* context, Picture& picture) {
  const std::size_t row_bytes = std::size_t{4} * picture.width;
  auto row = allocate_bytes(row_bytes);
  if (!row.ok()) return row.status();
  if (const int error = spng_decode_image(context, nullptr, 0, SPNG_FMT_RGBA8,
                                          SPNG_DECODE_TRNS | SPNG_DECODE_PROGRESSIVE)) {
    return failure(error);
  }
  for (std::uint32_t y = 0; y < picture.height; ++y) {
    const int error = spng_decode_row(context, row.value().get(), row_bytes);
    if (error != 0 && !(error == SPNG_EOI && y + 1 == picture.height)) return failure(error);
    composite_on_white(row.value().get(), picture.rgb.get() + std::size_t{3} * picture.width * y,
                       picture.width);
  }
  return {};
}

// Adam7 passes touch every row, so the whole RGBA picture exists before it is composited.
Status read_interlaced_with_alpha(spng_ctx* context, Picture& picture) {
  const std::size_t pixels = std::size_t{picture.width} * picture.height;
  auto rgba = allocate_bytes(4 * pixels);
  if (!rgba.ok()) return rgba.status();
  if (const int error =
          spng_decode_image(context, rgba.value().get(), 4 * pixels, SPNG_FMT_RGBA8, SPNG_DECODE_TRNS)) {
    return failure(error);
  }
  composite_on_white(rgba.value().get(), picture.rgb.get(), pixels);
  return {};
}

}  // namespace

Result<Picture> decode_png(std::span<const std::uint8_t> data, const MediaInfo& info) {
  const Context context(spng_ctx_new(0));
  if (!context) return failure(SPNG_EMEM);
  spng_set_image_limits(context.get(), info.width, info.height);
  spng_set_chunk_limits(context.get(), kMaxChunkBytes, kMaxCachedBytes);
  // Metadata with a wrong checksum is dropped; pixels and palettes with one are an error.
  spng_set_crc_action(context.get(), SPNG_CRC_ERROR, SPNG_CRC_DISCARD);
  if (const int error = spng_set_png_buffer(context.get(), data.data(), data.size())) return failure(error);

  spng_ihdr header{};
  if (const int error = spng_get_ihdr(context.get(), &header)) {
    if (error == SPNG_EUSER_WIDTH || error == SPNG_EUSER_HEIGHT) return header_mismatch(info.format);
    return failure(error);
  }
  if (!agrees(header, info)) return header_mismatch(info.format);
  spng_trns transparency{};
  const int transparent = spng_get_trns(context.get(), &transparency);
  if (transparent != 0 && transparent != SPNG_ECHUNKAVAIL) return failure(transparent);
  const bool has_alpha = transparent == 0 || header.color_type == SPNG_COLOR_TYPE_TRUECOLOR_ALPHA ||
                         header.color_type == SPNG_COLOR_TYPE_GRAYSCALE_ALPHA;

  auto picture = allocate_picture(info.width, info.height);
  if (!picture.ok()) return picture;
  Status status;
  if (!has_alpha) {
    const int error = spng_decode_image(context.get(), picture.value().rgb.get(), picture.value().bytes(),
                                        SPNG_FMT_RGB8, 0);
    if (error != 0) status = failure(error);
  } else if (info.progressive) {
    status = read_interlaced_with_alpha(context.get(), picture.value());
  } else {
    status = read_rows_with_alpha(context.get(), picture.value());
  }
  if (!status.ok()) return status;
  return picture;
}

}  // namespace floodgate
