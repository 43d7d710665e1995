// HEIC through libheif: the primary picture, cropped, turned and mirrored by the library, 8 bits a channel.
// Of an image sequence, the primary picture alone.
#include <libheif/heif.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "decoder.h"
#include "strip.h"

namespace floodgate {
namespace {

struct FreeContext {
  void operator()(heif_context* context) const { heif_context_free(context); }
};
struct ReleaseHandle {
  void operator()(heif_image_handle* handle) const { heif_image_handle_release(handle); }
};
struct ReleaseImage {
  void operator()(heif_image* image) const { heif_image_release(image); }
};
struct FreeOptions {
  void operator()(heif_decoding_options* options) const { heif_decoding_options_free(options); }
};

Status no_memory() { return {Code::kOverloaded, "there is no memory to decode the HEIC picture"}; }

Status failure(const heif_error& error) {
  std::string detail = error.message != nullptr ? error.message : "unknown error";
  while (!detail.empty() && detail.back() == '\n') detail.pop_back();
  switch (error.code) {
    case heif_error_Memory_allocation_error:
      if (error.subcode == heif_suberror_Security_limit_exceeded) {
        return {Code::kTooLarge, "the HEIC picture goes beyond a limit: " + detail};
      }
      return no_memory();
    case heif_error_Unsupported_feature:
    case heif_error_Unsupported_filetype:
      return {Code::kUnsupported, "the HEIC picture is not supported: " + detail};
    default:
      return {Code::kInvalidContent, "the HEIC picture is corrupt or truncated: " + detail};
  }
}

// Rows of RGBA whose colours were multiplied by their alpha, as straight ones: what was lost by it is lost,
// and colours above their alpha, which no encoder makes, are clipped (as Pillow converts RGBa).
void push_straight_rows(RowSink& sink, std::uint32_t width, std::uint32_t height, const std::uint8_t* rows,
                        std::size_t stride) {
  std::vector<std::uint8_t> straight(std::size_t{width} * 4);
  for (std::uint32_t y = 0; y < height; ++y) {
    const std::uint8_t* const row = rows + stride * y;
    for (std::size_t x = 0; x < straight.size(); x += 4) {
      const std::uint32_t alpha = row[x + 3];
      for (std::size_t c = 0; c < 3; ++c) {
        straight[x + c] = alpha == 0 || alpha == 255
                              ? row[x + c]
                              : static_cast<std::uint8_t>(std::min(255U, 255U * row[x + c] / alpha));
      }
      straight[x + 3] = row[x + 3];
    }
    push_rows(sink, y, 1, straight.data(), straight.size());
  }
}

}  // namespace

Status decode_heic(Encoded data, const MediaInfo& info, const MediaLimits& limits,
                   const DecodeOptions& /*options*/, RowSink& sink) {
  const std::unique_ptr<heif_context, FreeContext> context(heif_context_alloc());
  if (!context) return no_memory();
  heif_context_set_max_decoding_threads(context.get(), 0);
  heif_context_set_maximum_image_size_limit(
      context.get(), static_cast<int>(std::min<std::uint64_t>(
                         limits.max_side_px, std::uint64_t{std::numeric_limits<int>::max()})));
  heif_error error =
      heif_context_read_from_memory_without_copy(context.get(), data.data(), data.size(), nullptr);
  if (error.code != heif_error_Ok) return failure(error);
  heif_image_handle* raw_handle = nullptr;
  error = heif_context_get_primary_image_handle(context.get(), &raw_handle);
  const std::unique_ptr<heif_image_handle, ReleaseHandle> handle(raw_handle);
  if (error.code != heif_error_Ok) return failure(error);
  const auto agrees = [&](int width, int height) {
    return width >= 0 && height >= 0 && static_cast<std::uint32_t>(width) == info.width &&
           static_cast<std::uint32_t>(height) == info.height;
  };
  if (!agrees(heif_image_handle_get_width(handle.get()), heif_image_handle_get_height(handle.get()))) {
    return header_mismatch(info.format);
  }

  const bool alpha = heif_image_handle_has_alpha_channel(handle.get()) != 0;
  const std::unique_ptr<heif_decoding_options, FreeOptions> options(heif_decoding_options_alloc());
  if (!options) return no_memory();
  options->convert_hdr_to_8bit = 1;
  heif_image* raw_image = nullptr;
  error =
      heif_decode_image(handle.get(), &raw_image, heif_colorspace_RGB,
                        alpha ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB, options.get());
  const std::unique_ptr<heif_image, ReleaseImage> image(raw_image);
  if (error.code != heif_error_Ok) return failure(error);
  if (!agrees(heif_image_get_width(image.get(), heif_channel_interleaved),
              heif_image_get_height(image.get(), heif_channel_interleaved))) {
    return header_mismatch(info.format);
  }
  int stride = 0;
  const std::uint8_t* const rows =
      heif_image_get_plane_readonly(image.get(), heif_channel_interleaved, &stride);
  if (rows == nullptr || stride <= 0) {
    return {Code::kInvalidContent, "the HEIC picture is corrupt: it has no pixels"};
  }
  const std::uint8_t channels = alpha ? 4 : 3;
  if (Status begun = sink.begin({info.width, info.height, 1, channels, 1, 1, info.undo}); !begun.ok())
    return begun;
  if (alpha && heif_image_handle_is_premultiplied_alpha(handle.get()) != 0) {
    push_straight_rows(sink, info.width, info.height, rows, static_cast<std::size_t>(stride));
  } else {
    push_rows(sink, 0, info.height, rows, static_cast<std::size_t>(stride));
  }
  return {};
}

}  // namespace floodgate
