#include "floodgate/codecs.h"

#include <spng.h>
#include <webp/decode.h>

#include <cstddef>

#include "libjpeg.h"

namespace floodgate {
namespace {

// Triples packed into decimal or binary places, most significant first.
std::string triple(int number, int place) {
  return std::to_string(number / (place * place)) + '.' + std::to_string(number / place % place) + '.' +
         std::to_string(number % place);
}

}  // namespace

std::vector<std::pair<std::string, std::string>> codec_versions() {
  return {{"libjpeg-turbo", triple(LIBJPEG_TURBO_VERSION_NUMBER, 1000)},
          {"libspng", spng_version_string()},
          {"libwebp", triple(WebPGetDecoderVersion(), 256)}};
}

}  // namespace floodgate
