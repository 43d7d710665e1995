// libjpeg's headers, which neither include what they use nor bear being sorted.
#pragma once

// clang-format off
#include <cstddef>
#include <cstdio>

#include <jpeglib.h>
#include <jerror.h>
// clang-format on
