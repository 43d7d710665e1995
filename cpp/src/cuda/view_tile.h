// The arithmetic of one tile of one view, as CUDA threads run it: 22-bit fixed point, two passes, 8 bits
// between.
//
// Written once for host and device, so that tests hold it to the readable reference where there is no GPU. A
// tile is kTileA x kTileB output pixels; kThreads threads walk the lines that it reads in chunks of kLines:
// first_pass() filters a chunk along the first axis into `mid`, second_pass() adds what the chunk gives to
// the sums along the second; between the two all threads wait. "First" and "second" are stored columns and
// rows or the other way round, as the order of passes demands. Memory: the caller's. Thread rule: plain
// functions of their arguments. REQUIRES: a table made by ViewTable.
#pragma once

#include <cstdint>

#include "../view/kernel.h"

#ifdef __CUDACC__
#define FLOODGATE_ANYWHERE __host__ __device__ __forceinline__
#else
#define FLOODGATE_ANYWHERE inline
#endif

namespace floodgate::cuda {

inline constexpr int kThreads = 256;
inline constexpr int kTileA = 32;  // output pixels along the first axis: the lanes of a warp
inline constexpr int kTileB = 16;  // along the second
inline constexpr int kLines = 32;  // of the source, in one chunk
// A line more than there are pixels, so that neither way of walking `mid` meets one bank twice.
inline constexpr int kMidStride = kTileA + 1;
inline constexpr int kMidWords = kLines * kMidStride;
inline constexpr int kSumsAThread = kTileA * kTileB / kThreads;
inline constexpr int kPadPixels = 4096;  // that one padding tile looks at

// Tap lists of one axis: indices into the table of int32. Weight k of output i is at weights + k * length +
// i, so that neighbouring lanes read neighbouring words.
struct TapLists {
  std::uint32_t first = 0;
  std::uint32_t count = 0;
  std::uint32_t weights = 0;
  std::int32_t length = 0;
};

// One view of one picture. All steps in bytes.
struct ViewJob {
  const std::uint8_t* source = nullptr;  // device: pixel (0, 0) of the picture as stored
  std::uint8_t* out = nullptr;           // device: the view's row
  std::int64_t step_a = 0;               // from one source pixel to the next along the first axis
  std::int64_t step_b = 0;               // along the second
  TapLists a;
  TapLists b;
  std::int64_t out_first = 0;  // of output pixel (0, 0), before its channel's offset
  std::int64_t out_step_a = 0;
  std::int64_t out_step_b = 0;
  std::int64_t out_channel[3] = {};  // R, G, B
  bool lanes_along_b = false;        // the second axis is the one along which source pixels are neighbours
  bool has_alpha = false;            // four samples a pixel, composited on the background
  std::uint8_t background[3] = {};
  // Padding: the output outside [kept_x, kept_end_x) x [kept_y, kept_end_y).
  std::uint8_t pad[3] = {};
  std::int32_t width = 0;
  std::int32_t height = 0;
  std::int32_t kept_x = 0;
  std::int32_t kept_y = 0;
  std::int32_t kept_end_x = 0;
  std::int32_t kept_end_y = 0;
  std::int64_t pad_step = 0;  // from one output pixel to the next
};

// The work of one block.
struct Tile {
  std::uint32_t job = 0;
  bool padding = false;    // from output pixel `a0` on, counted along rows
  std::int32_t a0 = 0;     // first output pixel along the first axis
  std::int32_t b0 = 0;     // along the second
  std::int32_t begin = 0;  // lines of the source, along the second axis, that it reads
  std::int32_t end = 0;
};

FLOODGATE_ANYWHERE std::uint8_t clamp_sum(std::int32_t sum) {
  const std::int32_t value = sum >> kPrecisionBits;
  return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// To nearest; 255 is odd, so there is no tie.
FLOODGATE_ANYWHERE std::int32_t composite_sample(std::int32_t sample, std::int32_t alpha,
                                                 std::int32_t background) {
  return (background * (255 - alpha) + sample * alpha + 127) / 255;
}

// The weighted sum of `count` source pixels, each channel clamped to 8 bits: R | G << 8 | B << 16.
template <bool kAlpha>
FLOODGATE_ANYWHERE std::uint32_t filter_pixel(const ViewJob& job, const std::uint8_t* pixel,
                                              const std::int32_t* weights, std::int32_t count) {
  std::int32_t red = kHalf;
  std::int32_t green = kHalf;
  std::int32_t blue = kHalf;
  for (std::int32_t k = 0; k < count; ++k) {
    std::int32_t r = pixel[0];
    std::int32_t g = pixel[1];
    std::int32_t b = pixel[2];
    if constexpr (kAlpha) {
      r = composite_sample(r, pixel[3], job.background[0]);
      g = composite_sample(g, pixel[3], job.background[1]);
      b = composite_sample(b, pixel[3], job.background[2]);
    }
    const std::int32_t weight = *weights;
    red += weight * r;
    green += weight * g;
    blue += weight * b;
    weights += job.a.length;
    pixel += job.step_a;
  }
  return static_cast<std::uint32_t>(clamp_sum(red)) | static_cast<std::uint32_t>(clamp_sum(green)) << 8U |
         static_cast<std::uint32_t>(clamp_sum(blue)) << 16U;
}

// Lines [line, line + kLines) of the tile, filtered along the first axis into `mid`.
FLOODGATE_ANYWHERE void first_pass(const ViewJob& job, const Tile& tile, const std::int32_t* tables,
                                   std::int32_t line, int thread, std::uint32_t* mid) {
  for (int i = thread; i < kLines * kTileA; i += kThreads) {
    // Lanes go where the source's pixels are neighbours.
    const int a = job.lanes_along_b ? i / kLines : i % kTileA;
    const int b = job.lanes_along_b ? i % kLines : i / kTileA;
    const std::int32_t out = tile.a0 + a;
    if (out >= job.a.length || line + b >= tile.end) continue;
    const std::uint8_t* pixel = job.source + job.step_b * (line + b) +
                                job.step_a * tables[job.a.first + static_cast<std::uint32_t>(out)];
    const std::int32_t* weights = tables + job.a.weights + out;
    const std::int32_t count = tables[job.a.count + static_cast<std::uint32_t>(out)];
    mid[b * kMidStride + a] = job.has_alpha ? filter_pixel<true>(job, pixel, weights, count)
                                            : filter_pixel<false>(job, pixel, weights, count);
  }
}

struct Sums {
  std::int32_t channel[kSumsAThread][3];
};

FLOODGATE_ANYWHERE void clear(Sums& sums) {
  for (int i = 0; i < kSumsAThread; ++i) {
    for (int c = 0; c < 3; ++c) sums.channel[i][c] = kHalf;
  }
}

// Adds what lines [line, line + kLines) give to this thread's output pixels.
FLOODGATE_ANYWHERE void second_pass(const ViewJob& job, const Tile& tile, const std::int32_t* tables,
                                    std::int32_t line, int thread, const std::uint32_t* mid, Sums& sums) {
  const int a = thread % kTileA;
  const std::int32_t line_end = line + kLines < tile.end ? line + kLines : tile.end;
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int i = 0; i < kSumsAThread; ++i) {
    const std::int32_t out = tile.b0 + thread / kTileA + i * (kThreads / kTileA);
    if (out >= job.b.length || tile.a0 + a >= job.a.length) continue;
    const std::int32_t first = tables[job.b.first + static_cast<std::uint32_t>(out)];
    const std::int32_t end = first + tables[job.b.count + static_cast<std::uint32_t>(out)];
    const std::int32_t from = first > line ? first : line;
    const std::int32_t to = end < line_end ? end : line_end;
    const std::int32_t* const weights = tables + job.b.weights + out;
    for (std::int32_t y = from; y < to; ++y) {
      const std::uint32_t pixel = mid[(y - line) * kMidStride + a];
      const std::int32_t weight = weights[static_cast<std::int64_t>(y - first) * job.b.length];
      sums.channel[i][0] += weight * static_cast<std::int32_t>(pixel & 0xFFU);
      sums.channel[i][1] += weight * static_cast<std::int32_t>(pixel >> 8U & 0xFFU);
      sums.channel[i][2] += weight * static_cast<std::int32_t>(pixel >> 16U);
    }
  }
}

// Writes this thread's output pixels.
FLOODGATE_ANYWHERE void store(const ViewJob& job, const Tile& tile, int thread, const Sums& sums) {
  const std::int32_t a = tile.a0 + thread % kTileA;
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int i = 0; i < kSumsAThread; ++i) {
    const std::int32_t b = tile.b0 + thread / kTileA + i * (kThreads / kTileA);
    if (a >= job.a.length || b >= job.b.length) continue;
    std::uint8_t* const pixel = job.out + job.out_first + job.out_step_a * a + job.out_step_b * b;
    for (int c = 0; c < 3; ++c) pixel[job.out_channel[c]] = clamp_sum(sums.channel[i][c]);
  }
}

// Fills this thread's share of a padding tile.
FLOODGATE_ANYWHERE void pad(const ViewJob& job, const Tile& tile, int thread) {
  const std::int32_t area = job.width * job.height;
  const std::int32_t end = tile.a0 + kPadPixels < area ? tile.a0 + kPadPixels : area;
  for (std::int32_t i = tile.a0 + thread; i < end; i += kThreads) {
    const std::int32_t x = i % job.width;
    const std::int32_t y = i / job.width;
    const bool kept = x >= job.kept_x && x < job.kept_end_x && y >= job.kept_y && y < job.kept_end_y;
    if (kept) continue;
    std::uint8_t* const pixel = job.out + job.pad_step * i;
    for (int c = 0; c < 3; ++c) pixel[job.out_channel[c]] = job.pad[c];
  }
}

}  // namespace floodgate::cuda
