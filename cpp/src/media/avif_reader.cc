#include "avif_reader.h"

#include <algorithm>
#include <limits>
#include <string>

namespace floodgate {
namespace {

Status failure(avifResult result, const avifDecoder& decoder) {
  std::string detail = avifResultToString(result);
  if (decoder.diag.error[0] != '\0') detail += std::string(" (") + decoder.diag.error + ")";
  switch (result) {
    case AVIF_RESULT_OUT_OF_MEMORY:
      return {Code::kOverloaded, "there is no memory to decode the AVIF picture"};
    case AVIF_RESULT_TRUNCATED_DATA:
      return {Code::kInvalidContent, "the AVIF picture is truncated"};
    case AVIF_RESULT_NOT_IMPLEMENTED:
    case AVIF_RESULT_NO_CODEC_AVAILABLE:
    case AVIF_RESULT_UNSUPPORTED_DEPTH:
      return {Code::kUnsupported, "the AVIF picture is not supported: " + detail};
    default:
      return {Code::kInvalidContent, "the AVIF picture is corrupt: " + detail};
  }
}

struct DestroyImage {
  void operator()(avifImage* image) const { avifImageDestroy(image); }
};

}  // namespace

Result<AvifReader> AvifReader::open(std::span<const std::uint8_t> data, const MediaLimits& limits) {
  AvifReader reader;
  reader.decoder_.reset(avifDecoderCreate());
  if (!reader.decoder_) {
    return Status(Code::kOverloaded, "there is no memory to decode the AVIF picture");
  }
  avifDecoder& decoder = *reader.decoder_;
  decoder.maxThreads = 1;
  decoder.strictFlags &= ~static_cast<avifStrictFlags>(AVIF_STRICT_CLAP_VALID | AVIF_STRICT_PIXI_REQUIRED);
  decoder.ignoreExif = AVIF_TRUE;
  decoder.ignoreXMP = AVIF_TRUE;
  decoder.imageSizeLimit = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(limits.max_pixels, 1, AVIF_DEFAULT_IMAGE_SIZE_LIMIT));
  decoder.imageDimensionLimit = std::max(1U, limits.max_side_px);
  decoder.imageCountLimit = std::max(1U, limits.max_animation_frames);
  avifResult result = avifDecoderSetIOMemory(&decoder, data.data(), data.size());
  if (result == AVIF_RESULT_OK) result = avifDecoderParse(&decoder);
  if (result != AVIF_RESULT_OK) return failure(result, decoder);
  return reader;
}

Status AvifReader::decode(std::uint32_t index) {
  if (index > static_cast<std::uint32_t>(std::numeric_limits<int>::max())) {
    return {Code::kInternal, "there is no such frame"};
  }
  const avifResult result = avifDecoderNthImage(decoder_.get(), index);
  if (result != AVIF_RESULT_OK) return failure(result, *decoder_);
  return {};
}

Status AvifReader::convert(std::uint32_t first, std::uint32_t count, std::uint8_t* rows,
                           std::uint32_t& skip) const {
  const avifImage& whole = *decoder_->image;
  skip = std::min(first, kContextRows);
  avifCropRect rect{};
  rect.y = first - skip;
  rect.width = whole.width;
  rect.height = std::min(count + skip + kContextRows, whole.height - rect.y);
  const std::unique_ptr<avifImage, DestroyImage> part(avifImageCreateEmpty());
  if (!part) return {Code::kOverloaded, "there is no memory to decode the AVIF picture"};
  avifResult result = avifImageSetViewRect(part.get(), &whole, &rect);
  if (result == AVIF_RESULT_OK) {
    avifRGBImage rgb{};
    avifRGBImageSetDefaults(&rgb, part.get());
    rgb.depth = 8;
    rgb.format = channels() == 4 ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
    rgb.pixels = rows;
    rgb.rowBytes = channels() * whole.width;
    result = avifImageYUVToRGB(part.get(), &rgb);
  }
  if (result != AVIF_RESULT_OK) return failure(result, *decoder_);
  return {};
}

}  // namespace floodgate
