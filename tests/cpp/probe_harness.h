// What tests of the probe share.
#pragma once

#include <gtest/gtest.h>

#include <string_view>

#include "encoded_animations.h"
#include "encoded_pictures.h"
#include "floodgate/media.h"

namespace floodgate::testing {

inline MediaInfo probe_ok(const Data& data, const MediaLimits& limits = {}) {
  const auto info = probe(data, limits);
  EXPECT_TRUE(info.ok()) << info.status().message();
  return info.ok() ? info.value() : MediaInfo{};
}

inline Status probe_error(const Data& data, const MediaLimits& limits = {}) {
  const auto info = probe(data, limits);
  EXPECT_FALSE(info.ok());
  return info.ok() ? Status() : info.status();
}

inline Data from_text(std::string_view text) { return {text.begin(), text.end()}; }

inline bool mentions(const Status& status, std::string_view text) {
  return status.message().find(text) != std::string::npos;
}

}  // namespace floodgate::testing
