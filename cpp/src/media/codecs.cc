#include "floodgate/codecs.h"

#include <avif/avif.h>
#include <gif_lib.h>
#include <libheif/heif.h>
#include <spng.h>
#include <webp/decode.h>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
}

#include <cstddef>

#include "libjpeg.h"

namespace floodgate {
namespace {

// Triples packed into decimal or binary places, most significant first.
std::string triple(unsigned number, unsigned place) {
  return std::to_string(number / (place * place)) + '.' + std::to_string(number / place % place) + '.' +
         std::to_string(number % place);
}

std::string ffmpeg_version(unsigned version) {
  return std::to_string(AV_VERSION_MAJOR(version)) + '.' + std::to_string(AV_VERSION_MINOR(version)) + '.' +
         std::to_string(AV_VERSION_MICRO(version));
}

// "1.0.0" of dav1d in "dav1d [dec]:1.0.0, libgav1 [dec]:0.18.0"; the first that decodes is the one used.
std::string avif_decoder() {
  char all[256] = {};
  avifCodecVersions(all);
  const std::string versions(all);
  std::string first = versions.substr(0, versions.find(','));
  const std::size_t name = first.find(' ');
  const std::size_t version = first.find(':');
  if (name == std::string::npos || version == std::string::npos) return first;
  return first.substr(0, name) + ' ' + first.substr(version + 1);
}

std::string heif_decoder() {
  const heif_decoder_descriptor* decoder = nullptr;
  if (heif_get_decoder_descriptors(heif_compression_HEVC, &decoder, 1) < 1) return "no HEVC decoder";
  const char* const name = heif_decoder_descriptor_get_name(decoder);
  return name != nullptr ? name : "unnamed HEVC decoder";
}

}  // namespace

std::vector<std::pair<std::string, std::string>> codec_versions() {
  return {{"libjpeg-turbo", triple(LIBJPEG_TURBO_VERSION_NUMBER, 1000)},
          {"libspng", spng_version_string()},
          {"libwebp", triple(static_cast<unsigned>(WebPGetDecoderVersion()), 256)},
          {"giflib", std::to_string(GIFLIB_MAJOR) + '.' + std::to_string(GIFLIB_MINOR) + '.' +
                         std::to_string(GIFLIB_RELEASE)},
          {"libavif", std::string(avifVersion()) + " (" + avif_decoder() + ")"},
          {"libheif", std::string(heif_get_version()) + " (" + heif_decoder() + ")"},
          {"libavcodec", ffmpeg_version(avcodec_version())},
          {"libavformat", ffmpeg_version(avformat_version())},
          {"libswscale", ffmpeg_version(swscale_version())}};
}

}  // namespace floodgate
