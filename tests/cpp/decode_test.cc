#include "floodgate/decode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

#include "encoded_animations.h"
#include "encoded_pictures.h"
#include "media/pixels.h"

namespace floodgate {
namespace {

using namespace testing;

Result<Picture> decode_probed(std::span<const std::uint8_t> data) {
  const auto info = probe(data, {});
  if (!info.ok()) return info.status();
  return decode_picture(data, info.value(), {});
}

Data pixels(const Picture& picture) { return {picture.rgb.get(), picture.rgb.get() + picture.bytes()}; }

Data decode_pixels(const Data& data) {
  auto picture = decode_probed(data);
  EXPECT_TRUE(picture.ok()) << picture.status().message();
  return picture.ok() ? pixels(picture.value()) : Data{};
}

TEST(Decode, LosslessFormatsGiveBackTheirPixels) {
  const Data samples = gradient(23, 11, 3);
  EXPECT_EQ(decode_pixels(png(23, 11)), samples);
  EXPECT_EQ(decode_pixels(png(23, 11, {.interlaced = true}, samples)), samples);
  EXPECT_EQ(decode_pixels(webp(23, 11, true)), samples);
}

TEST(Decode, JpegVariantsStayCloseToTheirPixels) {
  for (const JpegOptions& options : {JpegOptions{}, JpegOptions{.progressive = true},
                                     JpegOptions{.restart_rows = 1}, JpegOptions{.separate_scans = true}}) {
    EXPECT_EQ(decode_pixels(jpeg(64, 48, options)), decode_pixels(jpeg(64, 48)))
        << "same coefficients, other coding";
  }
  const Data grey = decode_pixels(jpeg(64, 48, {.channels = 1}));
  for (std::size_t i = 0; i < grey.size(); i += 3) {
    ASSERT_EQ(grey[i], grey[i + 1]);
    ASSERT_EQ(grey[i], grey[i + 2]);
  }
  EXPECT_EQ(decode_pixels(jpeg(64, 48, {.channels = 4})).size(), 3U * 64 * 48);
}

TEST(Decode, SmallGreyDepthsSpanTheWholeRange) {
  for (const std::uint8_t bits : {1, 2, 4}) {
    const PngOptions options = {.color_type = SPNG_COLOR_TYPE_GRAYSCALE, .bit_depth = bits};
    const std::uint8_t levels = static_cast<std::uint8_t>(1U << bits);
    Data rgb;
    Data packed(1, 0);
    const int width = std::min<int>(levels, 8 / bits);
    for (int x = 0; x < width; ++x) {
      packed[0] |= static_cast<std::uint8_t>(x << (8 - bits * (x + 1)));
      for (int c = 0; c < 3; ++c) rgb.push_back(static_cast<std::uint8_t>(x * 255 / (levels - 1)));
    }
    EXPECT_EQ(decode_pixels(png(static_cast<std::uint32_t>(width), 1, options, packed)), rgb);
  }
}

TEST(Decode, SixteenBitSamplesKeepTheirHighByte) {
  const Data samples = {0x12, 0xFF, 0x80, 0x00, 0xFE, 0x7F};
  Data host = samples;  // the encoder takes host order
  for (std::size_t i = 0; i < host.size(); i += 2) std::swap(host[i], host[i + 1]);
  EXPECT_EQ(decode_pixels(png(1, 1, {.bit_depth = 16}, host)), (Data{0x12, 0x80, 0xFE}));
}

TEST(Decode, AlphaIsCompositedOnWhite) {
  const PngOptions options = {.color_type = SPNG_COLOR_TYPE_TRUECOLOR_ALPHA};
  const Data samples = {10, 20, 30, 255, 10, 20, 30, 0, 0, 100, 200, 128};
  const Data expected = {10, 20, 30, 255, 255, 255, 127, 177, 227};
  EXPECT_EQ(decode_pixels(png(3, 1, options, samples)), expected);
  const PngOptions interlaced = {.color_type = SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, .interlaced = true};
  EXPECT_EQ(decode_pixels(png(3, 1, interlaced, samples)), expected);
}

TEST(Decode, TransparentColoursAreWhite) {
  const PngOptions options = {.color_type = SPNG_COLOR_TYPE_GRAYSCALE, .transparent_color = true};
  EXPECT_EQ(decode_pixels(png(2, 1, options, {0, 7})), (Data{255, 255, 255, 7, 7, 7}));
}

TEST(Decode, OrientationTurnsThePicture) {
  // 2 x 1: one red, one green pixel.
  const Data red = {255, 0, 0};
  const Data green = {0, 255, 0};
  Data samples = red;
  put_data(samples, green);
  const Data plain = png(2, 1, {}, samples);
  Data swapped = green;
  put_data(swapped, red);
  for (std::uint32_t orientation = 1; orientation <= 8; ++orientation) {
    const auto picture = decode_probed(after_ihdr(plain, png_chunk("eXIf", exif_block(orientation, false))));
    ASSERT_TRUE(picture.ok());
    EXPECT_EQ(picture.value().width, orientation >= 5 ? 1U : 2U);
    EXPECT_EQ(picture.value().height, orientation >= 5 ? 2U : 1U);
    const bool mirrored = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
    EXPECT_EQ(pixels(picture.value()), mirrored ? swapped : samples) << orientation;
  }
}

TEST(Decode, TurningBackGivesTheSamePicture) {
  const std::pair<std::uint8_t, std::uint8_t> inverse[] = {{2, 2}, {3, 3}, {4, 4}, {5, 5},
                                                           {6, 8}, {7, 7}, {8, 6}};
  const Data samples = gradient(130, 67, 3);
  for (const auto& [there, back] : inverse) {
    auto picture = allocate_picture(130, 67);
    ASSERT_TRUE(picture.ok());
    std::copy(samples.begin(), samples.end(), picture.value().rgb.get());
    auto turned = upright(std::move(picture).value(), there);
    ASSERT_TRUE(turned.ok());
    auto again = upright(std::move(turned).value(), back);
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(pixels(again.value()), samples) << int{there};
  }
}

TEST(Decode, EveryTruncationIsAnErrorOrTheWholePicture) {
  const std::pair<const char*, Data> files[] = {
      {"baseline", jpeg(24, 24)},
      {"progressive", jpeg(24, 24, {.progressive = true})},
      {"separate scans", jpeg(24, 24, {.separate_scans = true})},
      {"cmyk", jpeg(24, 24, {.channels = 4})},
      {"png", png(24, 24)},
      {"png alpha", png(24, 24, {.color_type = SPNG_COLOR_TYPE_TRUECOLOR_ALPHA}, gradient(24, 24, 4))},
      {"png interlaced",
       png(24, 24, {.color_type = SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, .interlaced = true}, gradient(24, 24, 4))},
      {"webp", webp(24, 24)},
      {"webp lossless", webp(24, 24, true, true)},
      {"gif", gif({.width = 24, .height = 24}, {{.width = 24, .height = 24}})},
      {"gif interlaced", gif({.width = 24, .height = 24}, {{.width = 24, .height = 24, .interlaced = true}})},
      {"bmp", bmp(24, 24, 24)},
      {"avif", avif(24, 24)},
  };
  for (const auto& [name, data] : files) {
    const Data whole = decode_pixels(data);
    for (std::size_t size = 6; size < data.size(); ++size) {  // fewer bytes are no format yet
      // A copy of exactly this size, so that reading past its end is seen.
      const Data cut(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(size));
      const auto picture = decode_probed(cut);
      if (picture.ok()) {
        EXPECT_EQ(pixels(picture.value()), whole) << name << " cut to " << size;
        EXPECT_GE(size + 24, data.size()) << name << ": only what follows the pixels may be missing";
      } else {
        EXPECT_EQ(picture.status().code(), Code::kInvalidContent) << name << " cut to " << size;
      }
    }
  }
}

TEST(Decode, ChangedBytesNeverCrash) {
  const Data files[] = {
      jpeg(24, 24),
      jpeg(24, 24, {.progressive = true}),
      jpeg(24, 24, {.channels = 4, .restart_rows = 1}),
      png(24, 24, {.color_type = SPNG_COLOR_TYPE_TRUECOLOR_ALPHA, .interlaced = true}, gradient(24, 24, 4)),
      png(24, 24, {.color_type = SPNG_COLOR_TYPE_INDEXED, .bit_depth = 2, .transparent_color = true},
          Data(24 * 6, 0x1B)),
      webp(24, 24, false, true),
      webp(24, 24, true),
      gif({.width = 24, .height = 24}, {{.width = 20, .height = 20, .interlaced = true}}),
      bmp(24, 24, 8),
      avif(24, 24, {.alpha = true}),
  };
  const MediaLimits limits = {.max_pixels = 1'000'000};
  for (const Data& file : files) {
    for (std::size_t at = 0; at < file.size(); ++at) {
      for (const int flip : {0x01, 0x80, 0xFF}) {
        Data changed = file;
        changed[at] = static_cast<std::uint8_t>(changed[at] ^ flip);
        const auto info = probe(changed, limits);
        if (!info.ok()) continue;
        const auto picture = decode_picture(changed, info.value(), limits);
        if (picture.ok()) {
          const bool swaps = info.value().orientation >= 5;
          EXPECT_EQ(picture.value().width, swaps ? info.value().height : info.value().width);
        }
      }
    }
  }
}

TEST(Decode, HeaderThatDisagreesWithTheProbeIsInvalid) {
  for (const Data& data : {jpeg(24, 24), png(24, 24), webp(24, 24), bmp(24, 24, 24), avif(24, 24),
                           gif({.width = 24, .height = 24}, {{}})}) {
    MediaInfo info = probe(data, {}).value();
    info.width = 23;
    const auto picture = decode_picture(data, info, {});
    ASSERT_FALSE(picture.ok());
    EXPECT_EQ(picture.status().code(), Code::kInvalidContent);
    EXPECT_NE(picture.status().message().find("two different pictures"), std::string::npos)
        << picture.status().message();
  }
}

TEST(Decode, ChecksTheLimitsAgain) {
  const Data data = png(24, 24);
  const MediaInfo info = probe(data, {}).value();
  const auto picture = decode_picture(data, info, {.max_pixels = 575});
  ASSERT_FALSE(picture.ok());
  EXPECT_EQ(picture.status().code(), Code::kTooLarge);
}

TEST(Decode, EndlessScansAreRefused) {
  Data data = jpeg(24, 24, {.progressive = true});
  const std::size_t end = find_marker(data, 0xD9, data.size() - 2);
  ASSERT_LT(end, data.size());
  std::size_t last = 0;
  for (std::size_t at = find_marker(data, 0xDA); at < end; at = find_marker(data, 0xDA, at + 1)) last = at;
  const Data scan(data.begin() + static_cast<std::ptrdiff_t>(last),
                  data.begin() + static_cast<std::ptrdiff_t>(end));
  data.resize(end);
  for (int i = 0; i < 200; ++i) put_data(data, scan);
  put_be(data, 0xFFD9, 2);
  const auto picture = decode_probed(data);
  ASSERT_FALSE(picture.ok());
  EXPECT_EQ(picture.status().code(), Code::kTooLarge);
  EXPECT_NE(picture.status().message().find("scans"), std::string::npos);
}

TEST(Decode, DamagedPngMetadataDoesNotHideThePicture) {
  Data text = png_chunk("tEXt", Data{'k', 0, 'v'});
  text.back() ^= 1;  // checksum
  EXPECT_EQ(decode_pixels(after_ihdr(png(8, 8), text)), gradient(8, 8, 3));
}

TEST(Decode, PixelsWithAWrongChecksumAreShown) {
  const Data whole = png(8, 8);
  Data data = whole;
  data[data.size() - 16] ^= 1;  // the checksum of IDAT
  EXPECT_EQ(decode_pixels(data), gradient(8, 8, 3));
}

TEST(Decode, AHeaderOrPaletteWithAWrongChecksumIsInvalid) {
  Data header = png(8, 8);
  header[29] ^= 1;
  EXPECT_EQ(decode_probed(header).status().code(), Code::kInvalidContent);
  Data palette = png(8, 8, {.color_type = SPNG_COLOR_TYPE_INDEXED}, gradient(8, 8, 1));
  palette[33 + 8 + 1] ^= 1;
  EXPECT_EQ(decode_probed(palette).status().code(), Code::kInvalidContent);
}

TEST(Decode, MetadataNeverReachesThePngLibrary) {
  // A megabyte of text that would unpack to a gigabyte costs nothing, broken or not.
  Data bomb;
  put_text(bomb, "Comment");
  bomb.insert(bomb.end(), {0, 0, 0x78, 0x9C});
  bomb.resize(1 << 20, 0x55);
  for (const char* const type : {"zTXt", "iCCP", "iTXt"}) {
    EXPECT_EQ(decode_pixels(after_ihdr(png(8, 8), png_chunk(type, bomb))), gradient(8, 8, 3)) << type;
  }
}

TEST(Decode, RowsComeInStripsOfSixteen) {
  class Strips final : public RowSink {
   public:
    Status begin(const FrameShape& shape) override {
      height_ = shape.height;
      return {};
    }
    void rows(std::uint32_t y, std::uint32_t count, const std::uint8_t*, std::size_t) override {
      EXPECT_EQ(y, next_);
      EXPECT_TRUE(count <= 16 && (count >= 8 || y + count == height_));
      next_ = y + count;
    }
    std::uint32_t height_ = 0;
    std::uint32_t next_ = 0;
  };
  const Data files[] = {png(30, 45), webp(30, 45), bmp(30, 45, 24), avif(30, 45),
                        gif({.width = 30, .height = 45}, {{.left = 2, .top = 3, .width = 20, .height = 40}})};
  for (const Data& data : files) {
    const auto info = probe(data, {});
    ASSERT_TRUE(info.ok()) << info.status().message();
    Strips strips;
    const Status status = decode(data, info.value(), {}, {}, strips);
    EXPECT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(strips.next_, 45U);
  }
}

TEST(Decode, BmpRowsMayRunEitherWay) {
  EXPECT_EQ(decode_pixels(bmp(7, -5, 24)), decode_pixels(bmp(7, -5, 32)));
  const Data up = decode_pixels(bmp(7, 5, 24));
  const Data down = decode_pixels(bmp(7, -5, 24));
  for (std::size_t y = 0; y < 5; ++y) {
    EXPECT_TRUE(std::equal(up.begin() + 21 * static_cast<std::ptrdiff_t>(y),
                           up.begin() + 21 * static_cast<std::ptrdiff_t>(y + 1),
                           down.begin() + 21 * static_cast<std::ptrdiff_t>(4 - y)));
  }
}

TEST(Decode, BmpPixelsBehindTheEndAreRefusedBeforeAnyRow) {
  for (const std::uint32_t offset : {0x7FFFFFFFU, 0xFFFFFFFFU, 200U}) {
    Data data = bmp(8, 8, 24);
    for (std::size_t i = 0; i < 4; ++i) data[10 + i] = static_cast<std::uint8_t>(offset >> (8 * i));
    const auto picture = decode_probed(data);
    ASSERT_FALSE(picture.ok());
    EXPECT_NE(picture.status().message().find("truncated"), std::string::npos);
  }
}

TEST(Decode, DeepAvifsKeepTheirColours) {
  const Data reference = decode_pixels(avif(66, 70));
  for (const std::uint32_t bits : {10, 12}) {
    for (const bool subsampled : {false, true}) {
      const Data deep = decode_pixels(avif(66, 70, {.bits = bits, .subsampled = subsampled}));
      const Data eight = subsampled ? decode_pixels(avif(66, 70, {.subsampled = true})) : reference;
      ASSERT_EQ(deep.size(), eight.size());
      double sum = 0;
      for (std::size_t i = 0; i < deep.size(); ++i) sum += std::abs(int{deep[i]} - int{eight[i]});
      EXPECT_LE(sum / static_cast<double>(deep.size()), 1.5) << bits;
    }
  }
}

TEST(Decode, AvifStripsEqualAWholeConversion) {
  for (const AvifOptions& options :
       {AvifOptions{}, AvifOptions{.subsampled = true}, AvifOptions{.bits = 10, .subsampled = true},
        AvifOptions{.subsampled = true, .alpha = true}}) {
    const Data data = avif(37, 201, options);
    EXPECT_EQ(decode_pixels(data), avif_whole_on_white(data));
  }
}

TEST(Decode, AvifTilesMakeOnePicture) {
  const Data grid = avif(128, 128, {.tiles_across = 2, .tiles_down = 2});
  const auto info = probe(grid, {});
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info.value().width, 128U);
  EXPECT_EQ(decode_pixels(grid), avif_whole_on_white(grid));
}

}  // namespace
}  // namespace floodgate
