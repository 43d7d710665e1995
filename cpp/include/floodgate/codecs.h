// Which codec libraries this build runs with, for diagnostics. Thread rule: stateless.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace floodgate {

// (library, version) pairs in a fixed order: libjpeg-turbo, libspng, libwebp, giflib, libavif and libheif
// (with the decoder that each uses), FFmpeg's libavcodec, libavformat and libswscale. The versions of
// libjpeg-turbo and giflib are those of their headers, since these libraries do not tell their own; the
// others are what is loaded.
std::vector<std::pair<std::string, std::string>> codec_versions();

// FFmpeg's names of the video codecs that are decoded and that this build of it has, most common ones first.
std::vector<std::string> video_codecs();

}  // namespace floodgate
