// Small GIF, BMP, AVIF and APNG files: put together by hand, AVIF by libavif's encoder.
#pragma once

#include <avif/avif.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "encoded_pictures.h"
#include "media/pixels.h"

namespace floodgate::testing {

struct GifScreenOptions {
  std::uint32_t width = 8;
  std::uint32_t height = 8;
};

struct GifFrameOptions {
  std::uint32_t left = 0;
  std::uint32_t top = 0;
  std::uint32_t width = 8;
  std::uint32_t height = 8;
  std::uint32_t delay_cs = 10;
  int transparent = -1;
  std::uint32_t disposal = 0;
  bool interlaced = false;
  std::uint8_t color = 1;  // of every other pixel; the others are 0
};

// The four colours of gif(): black, red, green, white.
inline constexpr std::array<std::uint8_t, 12> kGifColors = {0, 0, 0, 255, 0, 0, 0, 255, 0, 255, 255, 255};

// Codes of 3 bits, cleared before they would grow.
inline Data gif_codes(const Data& indices) {
  Data packed;
  std::uint32_t bits = 0;
  std::uint32_t count = 0;
  const auto put = [&](std::uint32_t code) {
    bits |= code << count;
    count += 3;
    while (count >= 8) {
      packed.push_back(static_cast<std::uint8_t>(bits));
      bits >>= 8;
      count -= 8;
    }
  };
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (i % 2 == 0) put(4);
    put(indices[i]);
  }
  put(5);
  if (count > 0) packed.push_back(static_cast<std::uint8_t>(bits));
  Data blocks = {2};
  for (std::size_t at = 0; at < packed.size(); at += 255) {
    const std::size_t length = std::min<std::size_t>(255, packed.size() - at);
    blocks.push_back(static_cast<std::uint8_t>(length));
    put_data(blocks, std::span(packed).subspan(at, length));
  }
  blocks.push_back(0);
  return blocks;
}

inline Data gif(const GifScreenOptions& screen, const std::vector<GifFrameOptions>& frames) {
  Data data;
  put_text(data, "GIF89a");
  put_le(data, screen.width, 2);
  put_le(data, screen.height, 2);
  data.insert(data.end(), {0x81, 0, 0});
  put_data(data, kGifColors);
  for (const GifFrameOptions& frame : frames) {
    data.insert(data.end(), {'!', 0xF9, 4});
    data.push_back(static_cast<std::uint8_t>(frame.disposal << 2 | (frame.transparent >= 0 ? 1 : 0)));
    put_le(data, frame.delay_cs, 2);
    data.push_back(static_cast<std::uint8_t>(std::max(0, frame.transparent)));
    data.insert(data.end(), {0, ','});
    for (const std::uint32_t value : {frame.left, frame.top, frame.width, frame.height})
      put_le(data, value, 2);
    data.push_back(frame.interlaced ? 0x40 : 0);
    Data indices;
    for (std::uint32_t i = 0; i < frame.width * frame.height; ++i) {
      indices.push_back(i % 2 == 0 ? frame.color : 0);
    }
    put_data(data, gif_codes(indices));
  }
  data.push_back(';');
  return data;
}

// Noise, the palette too. A negative height is top-down.
inline Data bmp(std::uint32_t width, int height, std::uint32_t bits, std::uint32_t compression = 0) {
  const std::uint32_t rows = static_cast<std::uint32_t>(height < 0 ? -height : height);
  const std::uint32_t row_bytes = (width * bits + 31) / 32 * 4;
  const std::uint32_t palette = bits <= 8 ? 4U << bits : 0;
  Data data;
  put_text(data, "BM");
  put_le(data, 54 + palette + row_bytes * rows, 4);
  put_le(data, 0, 4);
  put_le(data, 54 + palette, 4);
  put_le(data, 40, 4);
  put_le(data, width, 4);
  put_le(data, static_cast<std::uint32_t>(height), 4);
  put_le(data, 1, 2);
  put_le(data, bits, 2);
  put_le(data, compression, 4);
  data.insert(data.end(), 20, 0);
  for (std::uint32_t i = 0; i < palette; ++i) data.push_back(static_cast<std::uint8_t>(i * 37));
  for (std::uint32_t y = 0; y < rows; ++y) {
    for (std::uint32_t i = 0; i < row_bytes; ++i) {
      // Equal colours at 24 and 32 bits.
      const std::uint32_t pixel = bits == 32 ? i / 4 : i / 3;
      const std::uint32_t channel = bits == 32 ? i % 4 : i % 3;
      data.push_back(static_cast<std::uint8_t>(pixel * 31 + channel * 77 + y * 13));
    }
  }
  return data;
}

struct AvifOptions {
  std::uint32_t bits = 8;
  bool subsampled = false;  // 4:2:0, else 4:4:4
  bool alpha = false;
  std::uint8_t quarter_turns = 0;  // anticlockwise
  std::uint32_t frames = 1;        // 100 ms each
  std::uint32_t tiles_across = 1;
  std::uint32_t tiles_down = 1;
};

inline constexpr std::array<std::uint8_t, 4> kIspe = {'i', 's', 'p', 'e'};

using AvifImagePtr = std::unique_ptr<avifImage, void (*)(avifImage*)>;

// Slopes in every plane; `seed` shifts them.
inline AvifImagePtr avif_image(std::uint32_t width, std::uint32_t height, const AvifOptions& options,
                               std::uint32_t seed) {
  AvifImagePtr image(
      avifImageCreate(width, height, options.bits,
                      options.subsampled ? AVIF_PIXEL_FORMAT_YUV420 : AVIF_PIXEL_FORMAT_YUV444),
      avifImageDestroy);
  image->yuvRange = AVIF_RANGE_FULL;
  image->matrixCoefficients = AVIF_MATRIX_COEFFICIENTS_BT601;
  if (options.quarter_turns > 0) {
    image->transformFlags |= AVIF_TRANSFORM_IROT;
    image->irot.angle = options.quarter_turns;
  }
  avifImageAllocatePlanes(image.get(), options.alpha ? AVIF_PLANES_ALL : AVIF_PLANES_YUV);
  const auto fill = [&](std::uint8_t* plane, std::uint32_t row_bytes, std::uint32_t w, std::uint32_t h,
                        std::uint32_t step) {
    for (std::uint32_t y = 0; y < h; ++y) {
      for (std::uint32_t x = 0; x < w; ++x) {
        const std::uint32_t value = (x * step + y * (step + 1) + 40 + seed * 60) % 256;
        std::uint8_t* const to = plane + std::size_t{row_bytes} * y;
        if (options.bits == 8) {
          to[x] = static_cast<std::uint8_t>(value);
        } else {
          reinterpret_cast<std::uint16_t*>(to)[x] = static_cast<std::uint16_t>(value << (options.bits - 8));
        }
      }
    }
  };
  const std::uint32_t chroma_width = options.subsampled ? (width + 1) / 2 : width;
  const std::uint32_t chroma_height = options.subsampled ? (height + 1) / 2 : height;
  fill(image->yuvPlanes[0], image->yuvRowBytes[0], width, height, 2);
  fill(image->yuvPlanes[1], image->yuvRowBytes[1], chroma_width, chroma_height, 1);
  fill(image->yuvPlanes[2], image->yuvRowBytes[2], chroma_width, chroma_height, 3);
  if (options.alpha) fill(image->alphaPlane, image->alphaRowBytes, width, height, 1);
  return image;
}

inline Data avif(std::uint32_t width, std::uint32_t height, const AvifOptions& options = {}) {
  const std::unique_ptr<avifEncoder, void (*)(avifEncoder*)> encoder(avifEncoderCreate(), avifEncoderDestroy);
  encoder->speed = 10;
  encoder->minQuantizer = encoder->maxQuantizer = 10;
  encoder->minQuantizerAlpha = encoder->maxQuantizerAlpha = 10;
  encoder->timescale = 10;
  const std::uint32_t tiles = options.tiles_across * options.tiles_down;
  if (tiles > 1) {
    std::vector<AvifImagePtr> images;
    std::vector<const avifImage*> cells;
    for (std::uint32_t i = 0; i < tiles; ++i) {
      images.push_back(avif_image(width / options.tiles_across, height / options.tiles_down, options, i));
      cells.push_back(images.back().get());
    }
    avifEncoderAddImageGrid(encoder.get(), options.tiles_across, options.tiles_down, cells.data(),
                            AVIF_ADD_IMAGE_FLAG_SINGLE);
  } else {
    for (std::uint32_t i = 0; i < options.frames; ++i) {
      const AvifImagePtr image = avif_image(width, height, options, i);
      avifEncoderAddImage(encoder.get(), image.get(), 1,
                          options.frames == 1 ? AVIF_ADD_IMAGE_FLAG_SINGLE : AVIF_ADD_IMAGE_FLAG_NONE);
    }
  }
  avifRWData out = AVIF_DATA_EMPTY;
  avifEncoderFinish(encoder.get(), &out);
  Data data(out.data, out.data + out.size);
  avifRWDataFree(&out);
  return data;
}

// What libavif makes of a still in one go, alpha on white.
inline Data avif_whole_on_white(const Data& data) {
  const std::unique_ptr<avifDecoder, void (*)(avifDecoder*)> decoder(avifDecoderCreate(), avifDecoderDestroy);
  const std::unique_ptr<avifImage, void (*)(avifImage*)> image(avifImageCreateEmpty(), avifImageDestroy);
  avifDecoderReadMemory(decoder.get(), image.get(), data.data(), data.size());
  avifRGBImage rgb{};
  avifRGBImageSetDefaults(&rgb, image.get());
  rgb.depth = 8;
  rgb.format = image->alphaPlane != nullptr ? AVIF_RGB_FORMAT_RGBA : AVIF_RGB_FORMAT_RGB;
  avifRGBImageAllocatePixels(&rgb);
  avifImageYUVToRGB(image.get(), &rgb);
  const std::size_t pixels = std::size_t{image->width} * image->height;
  Data result(3 * pixels);
  for (std::uint32_t y = 0; y < image->height; ++y) {
    const std::uint8_t* const row = rgb.pixels + std::size_t{rgb.rowBytes} * y;
    std::uint8_t* const to = result.data() + std::size_t{3} * image->width * y;
    if (image->alphaPlane != nullptr) {
      composite_on_white(row, to, image->width);
    } else {
      std::copy_n(row, std::size_t{3} * image->width, to);
    }
  }
  avifRGBImageFreePixels(&rgb);
  return result;
}

// One picture's pixels as a frame of an animated PNG: `number` is its first sequence number.
struct ApngFrameOptions {
  std::uint32_t left = 0;
  std::uint32_t top = 0;
  std::uint32_t width = 8;
  std::uint32_t height = 8;
  std::uint32_t delay_ms = 50;
  std::uint8_t dispose = 0;
  std::uint8_t blend = 0;
  Data rgba;  // width * height pixels; empty: a gradient
};

// The contents of the only IDAT chunk of a small PNG.
inline Data idat_of(const Data& data) {
  std::size_t at = 33;
  while (data[at + 4] != 'I' || data[at + 5] != 'D') {
    at += 12 + (std::size_t{data[at + 2]} << 8 | data[at + 3]);
  }
  const std::size_t length = std::size_t{data[at + 2]} << 8 | data[at + 3];
  return {data.begin() + static_cast<std::ptrdiff_t>(at + 8),
          data.begin() + static_cast<std::ptrdiff_t>(at + 8 + length)};
}

inline Data apng(std::uint32_t width, std::uint32_t height, const std::vector<ApngFrameOptions>& frames) {
  const PngOptions colour = {.color_type = SPNG_COLOR_TYPE_TRUECOLOR_ALPHA};
  const Data plain = png(width, height, colour, gradient(width, height, 4));
  Data data(plain.begin(), plain.begin() + 33);
  Data control;
  put_be(control, static_cast<std::uint32_t>(frames.size()), 4);
  put_be(control, 0, 4);
  put_data(data, png_chunk("acTL", control));
  std::uint32_t number = 0;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const ApngFrameOptions& frame = frames[i];
    Data fctl;
    for (const std::uint32_t value : {number++, frame.width, frame.height, frame.left, frame.top}) {
      put_be(fctl, value, 4);
    }
    put_be(fctl, frame.delay_ms, 2);
    put_be(fctl, 1000, 2);
    fctl.insert(fctl.end(), {frame.dispose, frame.blend});
    put_data(data, png_chunk("fcTL", fctl));
    const Data rgba = frame.rgba.empty() ? gradient(frame.width, frame.height, 4) : frame.rgba;
    const Data pixels = idat_of(png(frame.width, frame.height, colour, rgba));
    if (i == 0) {
      put_data(data, png_chunk("IDAT", pixels));
    } else {
      Data numbered;
      put_be(numbered, number++, 4);
      put_data(numbered, pixels);
      put_data(data, png_chunk("fdAT", numbered));
    }
  }
  put_data(data, png_chunk("IEND", {}));
  return data;
}

}  // namespace floodgate::testing
