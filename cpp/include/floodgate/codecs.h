// Which codec libraries this build runs with, for diagnostics. Thread rule: stateless.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace floodgate {

// (library, version) pairs in a fixed order: "libjpeg-turbo", "libspng", "libwebp". The JPEG version is that
// of the headers, since the library does not tell its own; the other two are what is loaded.
std::vector<std::pair<std::string, std::string>> codec_versions();

}  // namespace floodgate
