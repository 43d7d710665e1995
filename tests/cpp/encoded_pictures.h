// Small encoded pictures made with the codec libraries' own encoders, and surgery on their headers.
#pragma once

#include <spng.h>
#include <webp/encode.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "media/libjpeg.h"

namespace floodgate::testing {

using Data = std::vector<std::uint8_t>;

// Interleaved samples with a different slope in each channel and a sharp edge, so that a mixed-up axis,
// channel or offset shows.
inline Data gradient(std::uint32_t width, std::uint32_t height, std::uint32_t channels) {
  Data samples;
  samples.reserve(std::size_t{width} * height * channels);
  for (std::uint32_t y = 0; y < height; ++y) {
    for (std::uint32_t x = 0; x < width; ++x) {
      for (std::uint32_t c = 0; c < channels; ++c) {
        samples.push_back(static_cast<std::uint8_t>((c + 1) * 7 * x + (5 - c) * 11 * y + (x > y ? 90 : 0)));
      }
    }
  }
  return samples;
}

struct JpegOptions {
  int channels = 3;  // 1 grey, 3 colour, 4 CMYK
  bool progressive = false;
  int restart_rows = 0;
  bool separate_scans = false;  // baseline, one scan a component
  bool unfinished = false;      // progressive, without the scans that refine: decoders smooth its blocks
  int across = 0;  // the first component's samples for one of the others; 0: as the encoder likes
  int down = 0;
  bool ycck = false;  // of four channels
};

inline Data jpeg(std::uint32_t width, std::uint32_t height, const JpegOptions& options = {}) {
  jpeg_compress_struct encoder{};
  jpeg_error_mgr errors{};
  encoder.err = jpeg_std_error(&errors);
  jpeg_create_compress(&encoder);
  unsigned char* out = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&encoder, &out, &size);
  encoder.image_width = width;
  encoder.image_height = height;
  encoder.input_components = options.channels;
  encoder.in_color_space = options.channels == 1 ? JCS_GRAYSCALE : options.channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&encoder);
  jpeg_set_quality(&encoder, 85, TRUE);
  encoder.restart_in_rows = options.restart_rows;
  if (options.ycck) jpeg_set_colorspace(&encoder, JCS_YCCK);
  if (options.across != 0) {
    encoder.comp_info[0].h_samp_factor = options.across;
    encoder.comp_info[0].v_samp_factor = options.down;
  }
  if (options.progressive) jpeg_simple_progression(&encoder);
  const jpeg_scan_info coarse[2] = {{3, {0, 1, 2, 0}, 0, 0, 0, 2}, {1, {0, 0, 0, 0}, 1, 5, 0, 2}};
  if (options.unfinished) {
    encoder.scan_info = coarse;
    encoder.num_scans = 2;
  }
  const jpeg_scan_info scans[3] = {
      {1, {0, 0, 0, 0}, 0, 63, 0, 0}, {1, {1, 0, 0, 0}, 0, 63, 0, 0}, {1, {2, 0, 0, 0}, 0, 63, 0, 0}};
  if (options.separate_scans) {
    encoder.scan_info = scans;
    encoder.num_scans = 3;
  }
  jpeg_start_compress(&encoder, TRUE);
  Data samples = gradient(width, height, static_cast<std::uint32_t>(options.channels));
  while (encoder.next_scanline < height) {
    JSAMPROW row = samples.data() +
                   std::size_t{encoder.next_scanline} * width * static_cast<std::size_t>(options.channels);
    jpeg_write_scanlines(&encoder, &row, 1);
  }
  jpeg_finish_compress(&encoder);
  Data data(out, out + size);
  jpeg_destroy_compress(&encoder);
  std::free(out);
  return data;
}

struct PngOptions {
  std::uint8_t color_type = SPNG_COLOR_TYPE_TRUECOLOR;
  std::uint8_t bit_depth = 8;
  bool interlaced = false;
  bool transparent_color = false;  // a tRNS chunk naming colour 0 (grey) or palette alphas
};

// `samples` as the PNG stores them (packed, big-endian), top to bottom.
inline Data png(std::uint32_t width, std::uint32_t height, const PngOptions& options, const Data& samples) {
  spng_ctx* context = spng_ctx_new(SPNG_CTX_ENCODER);
  spng_set_option(context, SPNG_ENCODE_TO_BUFFER, 1);
  spng_ihdr header{};
  header.width = width;
  header.height = height;
  header.bit_depth = options.bit_depth;
  header.color_type = options.color_type;
  header.interlace_method = options.interlaced ? SPNG_INTERLACE_ADAM7 : SPNG_INTERLACE_NONE;
  spng_set_ihdr(context, &header);
  if (options.color_type == SPNG_COLOR_TYPE_INDEXED) {
    spng_plte palette{};
    palette.n_entries = 1U << options.bit_depth;
    for (std::uint32_t i = 0; i < palette.n_entries; ++i) {
      palette.entries[i] = {static_cast<std::uint8_t>(40 * i), static_cast<std::uint8_t>(255 - 30 * i),
                            static_cast<std::uint8_t>(17 * i), 255};
    }
    spng_set_plte(context, &palette);
  }
  if (options.transparent_color) {
    spng_trns transparency{};
    transparency.n_type3_entries = 1;
    spng_set_trns(context, &transparency);
  }
  spng_encode_image(context, samples.data(), samples.size(), SPNG_FMT_PNG, SPNG_ENCODE_FINALIZE);
  std::size_t size = 0;
  int error = 0;
  void* out = spng_get_png_buffer(context, &size, &error);
  spng_ctx_free(context);
  const auto* bytes = static_cast<const std::uint8_t*>(out);
  Data data(bytes, bytes + size);
  std::free(out);
  return data;
}

inline Data png(std::uint32_t width, std::uint32_t height) {
  return png(width, height, {}, gradient(width, height, 3));
}

inline Data webp(std::uint32_t width, std::uint32_t height, bool lossless = false, bool alpha = false) {
  const Data samples = gradient(width, height, alpha ? 4 : 3);
  const int w = static_cast<int>(width);
  const int h = static_cast<int>(height);
  std::uint8_t* out = nullptr;
  std::size_t size = 0;
  if (alpha) {
    size = lossless ? WebPEncodeLosslessRGBA(samples.data(), w, h, 4 * w, &out)
                    : WebPEncodeRGBA(samples.data(), w, h, 4 * w, 80, &out);
  } else {
    size = lossless ? WebPEncodeLosslessRGB(samples.data(), w, h, 3 * w, &out)
                    : WebPEncodeRGB(samples.data(), w, h, 3 * w, 80, &out);
  }
  Data data(out, out + size);
  WebPFree(out);
  return data;
}

// --- surgery

inline void put_be(Data& data, std::uint32_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; --i) data.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

inline void put_le(Data& data, std::uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) data.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

inline void put_text(Data& data, std::string_view text) { data.insert(data.end(), text.begin(), text.end()); }

inline void put_data(Data& data, std::span<const std::uint8_t> more) {
  data.insert(data.end(), more.begin(), more.end());
}

// A TIFF block with one SHORT entry: the orientation.
inline Data exif_block(std::uint32_t orientation, bool little_endian) {
  Data block;
  const auto put = [&](std::uint32_t value, int bytes) {
    if (little_endian) {
      put_le(block, value, bytes);
    } else {
      put_be(block, value, bytes);
    }
  };
  put_text(block, little_endian ? "II" : "MM");
  put(42, 2);
  put(8, 4);  // the directory follows at once
  put(1, 2);
  put(0x0112, 2);
  put(3, 2);  // SHORT
  put(1, 4);
  put(orientation, 2);
  put(0, 2);
  put(0, 4);
  return block;
}

// A JPEG marker segment; `body` without the length field.
inline Data jpeg_segment(std::uint8_t marker, std::span<const std::uint8_t> body) {
  Data segment = {0xFF, marker};
  put_be(segment, static_cast<std::uint32_t>(body.size() + 2), 2);
  put_data(segment, body);
  return segment;
}

// `data` with `more` put right after its start-of-image marker.
inline Data after_soi(const Data& data, std::span<const std::uint8_t> more) {
  Data result(data.begin(), data.begin() + 2);
  put_data(result, more);
  result.insert(result.end(), data.begin() + 2, data.end());
  return result;
}

inline Data jpeg_exif(std::span<const std::uint8_t> block) {
  Data body;
  put_text(body, std::string_view("Exif\0\0", 6));
  put_data(body, block);
  return jpeg_segment(0xE1, body);
}

// Index of the first `FF marker` at or after `from`; data.size() when there is none.
inline std::size_t find_marker(const Data& data, std::uint8_t marker, std::size_t from = 0) {
  for (std::size_t i = from; i + 1 < data.size(); ++i) {
    if (data[i] == 0xFF && data[i + 1] == marker) return i;
  }
  return data.size();
}

inline std::uint32_t crc32(std::span<const std::uint8_t> data) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (const std::uint8_t byte : data) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
  }
  return ~crc;
}

inline Data png_chunk(std::string_view type, std::span<const std::uint8_t> body) {
  Data chunk;
  put_be(chunk, static_cast<std::uint32_t>(body.size()), 4);
  put_text(chunk, type);
  put_data(chunk, body);
  put_be(chunk, crc32(std::span(chunk).subspan(4)), 4);
  return chunk;
}

// `data` with `chunk` put right after IHDR.
inline Data after_ihdr(const Data& data, std::span<const std::uint8_t> chunk) {
  Data result(data.begin(), data.begin() + 33);
  put_data(result, chunk);
  result.insert(result.end(), data.begin() + 33, data.end());
  return result;
}

// A WebP container around `chunks`.
inline Data riff(std::span<const std::uint8_t> chunks) {
  Data result;
  put_text(result, "RIFF");
  put_le(result, static_cast<std::uint32_t>(chunks.size() + 4), 4);
  put_text(result, "WEBP");
  put_data(result, chunks);
  return result;
}

inline Data webp_chunk(std::string_view type, std::span<const std::uint8_t> body) {
  Data chunk;
  put_text(chunk, type);
  put_le(chunk, static_cast<std::uint32_t>(body.size()), 4);
  put_data(chunk, body);
  if (body.size() % 2 == 1) chunk.push_back(0);
  return chunk;
}

inline Data vp8x_body(std::uint8_t flags, std::uint32_t width, std::uint32_t height) {
  Data body = {flags, 0, 0, 0};
  put_le(body, width - 1, 3);
  put_le(body, height - 1, 3);
  return body;
}

// A simple WebP wrapped into an extended one, with an EXIF chunk behind the picture.
inline Data webp_with_exif(const Data& simple, std::uint32_t width, std::uint32_t height,
                           std::span<const std::uint8_t> block) {
  Data chunks = webp_chunk("VP8X", vp8x_body(0x08, width, height));
  put_data(chunks, std::span(simple).subspan(12));
  put_data(chunks, webp_chunk("EXIF", block));
  return riff(chunks);
}

}  // namespace floodgate::testing
