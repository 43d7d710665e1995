// What the probe refuses: limits, damage, what is out of scope.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "media/header_reader.h"
#include "probe_harness.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;
using namespace testing;

TEST(Probe, EmptyDataIsInvalid) {
  const Status status = probe_error({});
  EXPECT_EQ(status.code(), Code::kInvalidContent);
  EXPECT_EQ(status.message(), "the data is empty");
}

TEST(Probe, NamesWhatItDoesNotSupport) {
  const std::vector<std::pair<std::string_view, std::string_view>> cases = {
      {"II*\0\x08\0\0\0"sv, "TIFF pictures"},
      {"MM\0*\0\0\0\x08"sv, "TIFF pictures"},
      {"%PDF-1.7\n"sv, "PDF documents"},
      {"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>"sv, "SVG pictures"},
      {"  <SVG width='1'>"sv, "SVG pictures"},
      {"<?xml version='1.0'?><feed/>"sv, "XML documents"},
      {"<!DOCTYPE html><html></html>"sv, "HTML pages"},
      {"data:image/png;base64,iVBORw0KGgo="sv, "data URLs"},
      {"\0\0\1\0\1\0\x10\x10"sv, "ICO icons"},
      {"\xFF\x0A\xFA\x1F"sv, "JPEG XL pictures"},
      {"\0\0\0\x0CJXL \r\n\x87\n"sv, "JPEG XL pictures"},
      {"PK\3\4\x14\0"sv, "ZIP archives"},
      {"RIFF\x24\0\0\0WAVEfmt "sv, "WAV sounds"},
      {"\0\0\0\x18"
       "ftypM4A \0\0\0\0"sv,
       "M4A sounds"},
      {"\0\0\0\x18"
       "ftypmif1\0\0\0\0mif1jpeg"sv,
       "neither AVIF nor HEIC"},
      {"8BPS\0\1"sv, "Photoshop documents"},
      {"hello, moderator\n"sv, "the data is text"},
      {"\xC3\xA9t\xC3\xA9"sv, "the data is text"},
  };
  for (const auto& [bytes, name] : cases) {
    const Status status = probe_error(from_text(bytes));
    EXPECT_EQ(status.code(), Code::kUnsupported) << name;
    EXPECT_TRUE(mentions(status, name)) << status.message();
  }
}

TEST(Probe, NoiseIsInvalid) {
  EXPECT_EQ(probe_error({0x13, 0x00, 0x07, 0x9C, 0x01}).code(), Code::kInvalidContent);
  EXPECT_EQ(probe_error({0xFF}).code(), Code::kInvalidContent);
  EXPECT_EQ(probe_error({0xFF, 0xD8}).code(), Code::kInvalidContent);
}

TEST(Probe, LimitsNameTheLimitAndTheValue) {
  const Data data = png(30, 20);
  const Status bytes = probe_error(data, {.max_bytes = 10});
  EXPECT_EQ(bytes.code(), Code::kTooLarge);
  EXPECT_TRUE(mentions(bytes, "max_bytes) is 10")) << bytes.message();
  EXPECT_TRUE(mentions(bytes, std::to_string(data.size()))) << bytes.message();
  const Status side = probe_error(data, {.max_side_px = 29});
  EXPECT_EQ(side.code(), Code::kTooLarge);
  EXPECT_TRUE(mentions(side, "30 px; the limit (max_side_px) is 29")) << side.message();
  const Status pixels = probe_error(data, {.max_pixels = 599});
  EXPECT_EQ(pixels.code(), Code::kTooLarge);
  EXPECT_TRUE(mentions(pixels, "600 pixels; the limit (max_pixels) is 599")) << pixels.message();
  probe_ok(data, {.max_bytes = data.size(), .max_pixels = 600, .max_side_px = 30});
}

// Offset of the frame header's precision byte.
std::size_t frame_at(const Data& data, std::uint8_t marker = 0xC0) { return find_marker(data, marker) + 4; }

TEST(Probe, UnsupportedJpegProcessesAreNamed) {
  const std::vector<std::pair<std::uint8_t, std::string_view>> cases = {{0xC3, "lossless"},
                                                                        {0xC5, "hierarchical"},
                                                                        {0xC9, "arithmetic-coded"},
                                                                        {0xCA, "arithmetic-coded"},
                                                                        {0xCF, "arithmetic-coded"}};
  for (const auto& [marker, name] : cases) {
    Data data = jpeg(16, 16);
    data[find_marker(data, 0xC0) + 1] = marker;
    const Status status = probe_error(data);
    EXPECT_EQ(status.code(), Code::kUnsupported);
    EXPECT_TRUE(mentions(status, name)) << status.message();
  }
  Data deep = jpeg(16, 16);
  deep[frame_at(deep)] = 12;
  EXPECT_TRUE(mentions(probe_error(deep), "12-bit JPEG"));
  Data two = jpeg(16, 16);
  two[frame_at(two) + 5] = 2;
  EXPECT_TRUE(mentions(probe_error(two), "2 components"));
}

TEST(Probe, ZeroSidesAreInvalid) {
  for (const std::size_t at : {1, 3}) {
    Data data = jpeg(16, 16);
    data[frame_at(data) + at] = 0;
    data[frame_at(data) + at + 1] = 0;
    EXPECT_EQ(probe_error(data).code(), Code::kInvalidContent);
  }
  Data zero_png = png(16, 16);
  zero_png[19] = 0;
  EXPECT_EQ(probe_error(zero_png).code(), Code::kInvalidContent);
}

TEST(Probe, ProgressiveCoefficientMemoryIsBounded) {
  Data data = jpeg(16, 16, {.progressive = true});
  const std::size_t frame = frame_at(data, 0xC2);
  data[frame + 1] = 0xFF;  // 65280 rows
  data[frame + 2] = 0x00;
  data[frame + 3] = 0x05;  // 1400 columns: 91 megapixels at 4:2:0 still fit
  data[frame + 4] = 0x78;
  probe_ok(data);
  data[frame + 7] = 0x11;  // at 4:4:4 they do not
  const Status status = probe_error(data);
  EXPECT_EQ(status.code(), Code::kTooLarge);
  EXPECT_TRUE(mentions(status, "the limit (max_coefficient_bytes) is 512 MiB")) << status.message();
  EXPECT_TRUE(probe(data, {.max_coefficient_bytes = 1ULL << 30}).ok()) << "the caller's limit is the limit";
}

TEST(Probe, Mp4DataOfCountlessTracksIsRefused) {
  Data tracks;
  for (int i = 0; i < 100; ++i) {
    put_be(tracks, 8, 4);
    put_text(tracks, "trak");
  }
  const auto movie = [&] {
    Data data;
    put_be(data, 16, 4);
    put_text(data, "ftypisom");
    put_be(data, 0, 4);
    put_be(data, static_cast<std::uint32_t>(8 + tracks.size()), 4);
    put_text(data, "moov");
    put_data(data, tracks);
    return data;
  };
  EXPECT_EQ(probe_ok(movie()).format, Format::kMp4);
  put_be(tracks, 8, 4);
  put_text(tracks, "trak");
  const Status status = probe_error(movie());
  EXPECT_EQ(status.code(), Code::kTooLarge);
  EXPECT_TRUE(mentions(status, "more tracks than the limit, 100")) << status.message();
}

TEST(Probe, FrameHeaderMayLieBehindMegabytesOfMetadata) {
  Data metadata;
  for (int i = 0; i < 66; ++i) put_data(metadata, jpeg_segment(0xE2, Data(65'000, 0xFF)));
  const Data data = after_soi(jpeg(16, 16), metadata);
  ASSERT_GT(data.size(), 4U << 20);
  EXPECT_EQ(probe_ok(data).width, 16U);
}

TEST(Probe, HeadersOfCountlessTinySegmentsAreRefused) {
  Data segments;
  for (int i = 0; i < 100'000; ++i) put_data(segments, jpeg_segment(0xFE, {}));
  const Status status = probe_error(after_soi(jpeg(16, 16), segments));
  EXPECT_EQ(status.code(), Code::kInvalidContent);
  EXPECT_TRUE(mentions(status, "64 KB")) << status.message();
  const Status padding = probe_error(after_soi(jpeg(16, 16), Data(100'000, 0xFF)));
  EXPECT_EQ(padding.code(), Code::kInvalidContent);
  Data chunks;
  for (int i = 0; i < 100'000; ++i) put_data(chunks, png_chunk("teSt", {}));
  EXPECT_EQ(probe_error(after_ihdr(png(16, 16), chunks)).code(), Code::kInvalidContent);
}

TEST(Probe, AJpegSegmentTooShortForItsOwnLengthIsPassedOverAsByLibjpeg) {
  for (const std::uint8_t length : {0, 1}) {
    const MediaInfo info = probe_ok(after_soi(jpeg(16, 8), Data{0xFF, 0xE3, 0x00, length}));
    EXPECT_EQ(info.width, 16U);
    EXPECT_EQ(info.height, 8U);
  }
}

TEST(Probe, ImpossibleHeadersAreInvalid) {
  EXPECT_TRUE(mentions(probe_error(after_soi(jpeg(16, 16), Data{0xFF, 0xD9})), "no frame header"));
  Data sampling = jpeg(16, 16);
  sampling[frame_at(sampling) + 7] = 0x51;
  EXPECT_TRUE(mentions(probe_error(sampling), "sampling factor"));
  Data bits = png(16, 16);
  bits[24] = 3;
  EXPECT_TRUE(mentions(probe_error(bits), "colour type 2 with 3 bits"));
  Data no_pixels = png(16, 16);
  no_pixels.resize(33);
  put_data(no_pixels, png_chunk("IEND", {}));
  EXPECT_TRUE(mentions(probe_error(no_pixels), "no pixels"));
  EXPECT_TRUE(mentions(probe_error(riff(webp_chunk("JUNK", Data(20, 0)))), "does not start with a picture"));
  Data inter = webp(16, 16);
  inter[20] |= 1;
  EXPECT_TRUE(mentions(probe_error(inter), "key frame"));
}

TEST(Probe, EveryTruncatedHeaderIsAnError) {
  const Data whole_jpeg = jpeg(16, 16);
  for (std::size_t size = 0; size < find_marker(whole_jpeg, 0xDA); ++size) {
    const Data cut(whole_jpeg.begin(), whole_jpeg.begin() + static_cast<std::ptrdiff_t>(size));
    if (size < find_marker(whole_jpeg, 0xC4)) {
      EXPECT_FALSE(probe(cut, {}).ok()) << size;
    } else {
      EXPECT_TRUE(probe(cut, {}).ok()) << size;  // the frame header is there
    }
  }
  for (const Data& whole : {gif({.width = 8, .height = 8}, {{}}), bmp(8, 8, 24), avif(8, 8)}) {
    for (std::size_t size = 0; size < 20; ++size) {
      const Data cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_FALSE(probe(cut, {}).ok()) << size;
    }
  }
  const Data whole_webp = webp(16, 16, false, true);
  for (std::size_t size = 0; size < whole_webp.size(); ++size) {
    const Data cut(whole_webp.begin(), whole_webp.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(probe(cut, {}).ok()) << size;
  }
  const Data whole_png = png(16, 16);
  for (std::size_t size = 0; size < 33 + 8; ++size) {
    const Data cut(whole_png.begin(), whole_png.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_FALSE(probe(cut, {}).ok()) << size;
  }
}

TEST(HeaderReader, StopsAtItsBudget) {
  const Data data(kProbeBytes + 10, 1);
  HeaderReader reader(data);
  for (std::size_t i = 0; i < kProbeBytes; ++i) ASSERT_TRUE(reader.u8(0).has_value());
  EXPECT_FALSE(reader.exhausted());
  EXPECT_FALSE(reader.u8(0).has_value());
  EXPECT_TRUE(reader.exhausted());
}

TEST(HeaderReader, ReadsPastTheEndAreNothing) {
  const Data data = {1, 2, 3};
  HeaderReader reader(data);
  EXPECT_EQ(reader.be16(1), 0x0203U);
  EXPECT_EQ(reader.le16(1), 0x0302U);
  EXPECT_FALSE(reader.be16(2).has_value());
  EXPECT_FALSE(reader.be32(~std::size_t{0}).has_value());
  EXPECT_FALSE(reader.matches(2, "abc"));
  EXPECT_FALSE(reader.exhausted());
}

}  // namespace
}  // namespace floodgate
