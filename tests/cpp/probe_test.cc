// What the probe reads out of each format's headers.
#include <string>
#include <string_view>
#include <vector>

#include "media/hevc_header.h"
#include "probe_harness.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;
using namespace testing;

TEST(Probe, ReadsJpegHeaders) {
  const MediaInfo baseline = probe_ok(jpeg(37, 21));
  EXPECT_EQ(baseline.format, Format::kJpeg);
  EXPECT_EQ(baseline.width, 37U);
  EXPECT_EQ(baseline.height, 21U);
  EXPECT_EQ(baseline.channels, 3);
  EXPECT_EQ(baseline.bits, 8);
  EXPECT_EQ(baseline.orientation, 1);
  EXPECT_EQ(baseline.frames, 1U);
  EXPECT_FALSE(baseline.progressive);
  EXPECT_FALSE(baseline.has_alpha);
  EXPECT_GT(baseline.decode_cost_ns, 0);
  EXPECT_TRUE(probe_ok(jpeg(37, 21, {.progressive = true})).progressive);
  EXPECT_EQ(probe_ok(jpeg(37, 21, {.channels = 1})).channels, 1);
  EXPECT_EQ(probe_ok(jpeg(37, 21, {.channels = 4})).channels, 4);
}

TEST(Probe, ReadsPngHeaders) {
  const MediaInfo colour = probe_ok(png(13, 7));
  EXPECT_EQ(colour.format, Format::kPng);
  EXPECT_EQ(colour.width, 13U);
  EXPECT_EQ(colour.height, 7U);
  EXPECT_EQ(colour.channels, 3);
  EXPECT_FALSE(colour.has_alpha);
  const PngOptions grey_alpha = {.color_type = SPNG_COLOR_TYPE_GRAYSCALE_ALPHA, .interlaced = true};
  const MediaInfo grey = probe_ok(png(13, 7, grey_alpha, gradient(13, 7, 2)));
  EXPECT_EQ(grey.channels, 2);
  EXPECT_TRUE(grey.has_alpha);
  EXPECT_TRUE(grey.progressive);
  const PngOptions deep = {.bit_depth = 16};
  EXPECT_EQ(probe_ok(png(13, 7, deep, gradient(13, 7, 6))).bits, 16);
  const PngOptions transparent = {
      .color_type = SPNG_COLOR_TYPE_INDEXED, .bit_depth = 8, .transparent_color = true};
  EXPECT_TRUE(probe_ok(png(4, 4, transparent, Data(16, 1))).has_alpha);
}

TEST(Probe, CountsFramesOfAnimatedPngs) {
  Data control;
  put_be(control, 5, 4);
  put_be(control, 0, 4);
  // What comes in IDAT before any frame control is no frame of the animation, and shown before it.
  const Data hidden = after_ihdr(png(4, 4), png_chunk("acTL", control));
  EXPECT_EQ(probe_ok(hidden).frames, 6U);
  Data both = png_chunk("acTL", control);
  put_data(both, png_chunk("fcTL", Data(26, 0)));
  EXPECT_EQ(probe_ok(after_ihdr(png(4, 4), both)).frames, 5U);
}

TEST(Probe, ReadsWebpHeaders) {
  const MediaInfo lossy = probe_ok(webp(40, 30));
  EXPECT_EQ(lossy.format, Format::kWebp);
  EXPECT_EQ(lossy.width, 40U);
  EXPECT_EQ(lossy.height, 30U);
  EXPECT_FALSE(lossy.has_alpha);
  const MediaInfo lossless = probe_ok(webp(40, 30, true, true));
  EXPECT_EQ(lossless.width, 40U);
  EXPECT_EQ(lossless.height, 30U);
  EXPECT_TRUE(lossless.has_alpha);
  EXPECT_EQ(lossless.channels, 4);
  EXPECT_TRUE(probe_ok(webp(40, 30, false, true)).has_alpha);
}

TEST(Probe, CountsFramesOfAnimatedWebps) {
  Data chunks = webp_chunk("VP8X", vp8x_body(0x02, 300, 200));
  put_data(chunks, webp_chunk("ANIM", Data(6, 0)));
  for (int i = 0; i < 3; ++i) put_data(chunks, webp_chunk("ANMF", Data(17, 0)));
  const MediaInfo info = probe_ok(riff(chunks));
  EXPECT_EQ(info.frames, 3U);
  EXPECT_EQ(info.width, 300U);
  EXPECT_EQ(info.height, 200U);
}

TEST(Probe, ReadsGifHeaders) {
  const MediaInfo still = probe_ok(gif({.width = 20, .height = 10}, {{.width = 20, .height = 10}}));
  EXPECT_EQ(still.format, Format::kGif);
  EXPECT_EQ(still.width, 20U);
  EXPECT_EQ(still.height, 10U);
  EXPECT_EQ(still.frames, 1U);
  EXPECT_EQ(still.duration_ms, 0U);
  EXPECT_FALSE(still.has_alpha);
  const MediaInfo animated = probe_ok(
      gif({.width = 8, .height = 8}, {{.delay_cs = 0}, {.delay_cs = 1, .transparent = 2}, {.delay_cs = 2}}));
  EXPECT_EQ(animated.frames, 3U);
  EXPECT_EQ(animated.duration_ms, 100U + 100U + 20U);
  EXPECT_TRUE(animated.has_alpha);
}

TEST(Probe, DoesNotKnowTheFramesOfAGifBeyondItsBudget) {
  const std::vector<GifFrameOptions> many(6'000, {.width = 1, .height = 1});
  const MediaInfo info = probe_ok(gif({.width = 8, .height = 8}, many));
  EXPECT_EQ(info.frames, 0U);
  EXPECT_TRUE(info.is_sequence());
}

TEST(Probe, ReadsBmpHeaders) {
  const MediaInfo info = probe_ok(bmp(17, -9, 24));
  EXPECT_EQ(info.format, Format::kBmp);
  EXPECT_EQ(info.width, 17U);
  EXPECT_EQ(info.height, 9U);
  EXPECT_FALSE(info.has_alpha);
  EXPECT_EQ(probe_ok(bmp(17, 9, 8)).height, 9U);
  EXPECT_TRUE(mentions(probe_error(bmp(17, 9, 2)), "2 bits a pixel"));
  EXPECT_TRUE(mentions(probe_error(bmp(17, 9, 24, 4)), "compression 4"));
  EXPECT_TRUE(mentions(probe_error(bmp(17, 9, 24, 1)), "run lengths with 24 bits"));
}

TEST(Probe, ReadsAvifHeaders) {
  const MediaInfo plain = probe_ok(avif(34, 20));
  EXPECT_EQ(plain.format, Format::kAvif);
  EXPECT_EQ(plain.width, 34U);
  EXPECT_EQ(plain.height, 20U);
  EXPECT_EQ(plain.bits, 8);
  EXPECT_FALSE(plain.has_alpha);
  const MediaInfo deep = probe_ok(avif(34, 20, {.bits = 10, .alpha = true, .quarter_turns = 1}));
  EXPECT_EQ(deep.bits, 10);
  EXPECT_TRUE(deep.has_alpha);
  EXPECT_EQ(deep.orientation, 8);  // a quarter anticlockwise
  const MediaInfo animated = probe_ok(avif(34, 20, {.frames = 3}));
  EXPECT_EQ(animated.frames, 3U);
  EXPECT_EQ(animated.width, 34U);
  EXPECT_EQ(animated.duration_ms, 3 * 1000U / 10);
}

TEST(Probe, EverySizeInAPictureOfBoxesIsHeldAgainstTheLimits) {
  Data data = avif(34, 20);
  const auto ispe = std::search(data.begin(), data.end(), kIspe.begin(), kIspe.end());
  ASSERT_NE(ispe, data.end());
  std::fill(ispe + 8, ispe + 16, std::uint8_t{0x7F});
  const Status status = probe_error(data);
  EXPECT_EQ(status.code(), Code::kTooLarge);
}

Data from_hex(std::string_view text) {
  Data data;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    data.push_back(static_cast<std::uint8_t>(std::stoi(std::string(text.substr(i, 2)), nullptr, 16)));
  }
  return data;
}

TEST(Probe, TheCodedSizeOfHevcIsReadFromItsParameterSet) {
  // Written by x265 for pictures of 64 x 64 and 150 x 100.
  const Data square = from_hex(
      "0103700000009000000000001ef000fcfdf8f800000f03600001001840010c01ffff03700000030090000003"
      "000003001eba0240610001002b42010103700000030090000003000003001ea020810596ea4929ae6e021a0c"
      "0800000300c800000300084062000100074401c172b02240");
  const Data wide = from_hex(
      "0103700000009000000000001ef000fcfdf8f800000f03600001001840010c01ffff03700000030090000003"
      "000003001eba0240610001002c42010103700000030090000003000003001ea0132069d5e5ba924a6b9b8086"
      "8302000003003200000300021062000100074401c172b06240");
  HeaderReader square_reader(square);
  const auto square_size = hevc_coded_size(square_reader, 0, square.size());
  ASSERT_TRUE(square_size.has_value());
  EXPECT_EQ(square_size->width, 64U);
  EXPECT_EQ(square_size->height, 64U);
  HeaderReader wide_reader(wide);
  const auto wide_size = hevc_coded_size(wide_reader, 0, wide.size());
  ASSERT_TRUE(wide_size.has_value());
  EXPECT_EQ(wide_size->width, 152U);  // rounded up to coding blocks of 8
  EXPECT_EQ(wide_size->height, 104U);
  for (std::size_t length = 0; length < wide.size(); ++length) {
    HeaderReader cut(wide);
    hevc_coded_size(cut, 0, length);  // within bounds, whatever it finds
  }
}

TEST(Probe, BoxesThatLieAboutTheirSizeAreErrors) {
  const Data whole = avif(34, 20, {.alpha = true});
  for (std::size_t at = 0; at < std::min<std::size_t>(whole.size(), 600); ++at) {
    for (const int value : {0x00, 0x01, 0x7F, 0xFF}) {
      Data changed = whole;
      changed[at] = static_cast<std::uint8_t>(value);
      const auto info = probe(changed, {});
      if (info.ok() && !is_video(info.value().format)) {
        EXPECT_LE(std::uint64_t{info.value().width} * info.value().height, MediaLimits{}.max_pixels);
      }
    }
  }
}

TEST(Probe, LongAnimationsAreRefused) {
  const Data data = gif({.width = 8, .height = 8}, std::vector<GifFrameOptions>(5, {.delay_cs = 100}));
  EXPECT_TRUE(mentions(probe_error(data, {.max_animation_frames = 4}), "5 frames; the limit"));
  EXPECT_TRUE(mentions(probe_error(data, {.max_duration_ms = 4'999}), "5000 ms; the limit"));
  probe_ok(data, {.max_duration_ms = 5'000, .max_animation_frames = 5});
}

TEST(Probe, XmpTellsTheOrientationWhereExifIsSilent) {
  const std::string packet = "<rdf:Description tiff:Orientation=\"6\"/>";
  Data body;
  put_text(body, "http://ns.adobe.com/xap/1.0/");
  body.push_back(0);
  put_text(body, packet);
  const Data xmp = jpeg_segment(0xE1, body);
  EXPECT_EQ(probe_ok(after_soi(jpeg(16, 8), xmp)).orientation, 6);
  Data both = xmp;
  put_data(both, jpeg_exif(exif_block(3, true)));
  EXPECT_EQ(probe_ok(after_soi(jpeg(16, 8), both)).orientation, 3);
}

TEST(Probe, ReadsOrientationOfEveryFormatInBothByteOrders) {
  const Data plain_jpeg = jpeg(16, 8);
  const Data plain_png = png(16, 8);
  const Data plain_webp = webp(16, 8);
  for (std::uint32_t orientation = 1; orientation <= 8; ++orientation) {
    for (const bool little : {false, true}) {
      const Data block = exif_block(orientation, little);
      EXPECT_EQ(probe_ok(after_soi(plain_jpeg, jpeg_exif(block))).orientation, orientation);
      EXPECT_EQ(probe_ok(after_ihdr(plain_png, png_chunk("eXIf", block))).orientation, orientation);
      EXPECT_EQ(probe_ok(webp_with_exif(plain_webp, 16, 8, block)).orientation, orientation);
    }
  }
}

TEST(Probe, FindsPngOrientationBehindThePixels) {
  Data data = png(16, 8);
  data.erase(data.end() - 12, data.end());  // IEND
  put_data(data, png_chunk("eXIf", exif_block(6, true)));
  put_data(data, png_chunk("IEND", {}));
  EXPECT_EQ(probe_ok(data).orientation, 6);
}

TEST(Probe, DamagedExifMeansUprightAndNeverAnError) {
  const Data plain = jpeg(16, 8);
  const Data block = exif_block(6, false);
  for (std::size_t length = 0; length < block.size(); ++length) {
    const Data cut(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(length));
    const std::uint8_t orientation = probe_ok(after_soi(plain, jpeg_exif(cut))).orientation;
    EXPECT_EQ(orientation, length >= 22 ? 6 : 1) << length;  // 22 bytes hold the one entry
  }
  for (std::size_t at = 0; at < block.size(); ++at) {
    for (const int value : {0x00, 0x01, 0x7F, 0x80, 0xFF}) {
      Data changed = block;
      changed[at] = static_cast<std::uint8_t>(value);
      const std::uint8_t orientation = probe_ok(after_soi(plain, jpeg_exif(changed))).orientation;
      EXPECT_GE(orientation, 1);
      EXPECT_LE(orientation, 8);
    }
  }
  EXPECT_EQ(probe_ok(after_soi(plain, jpeg_exif(exif_block(9, true)))).orientation, 1);
  EXPECT_EQ(probe_ok(after_soi(plain, jpeg_exif(exif_block(0, true)))).orientation, 1);
}

}  // namespace
}  // namespace floodgate
