#include "floodgate/text.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace floodgate {
namespace {

std::span<const std::uint8_t> bytes(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string encode(char32_t code) {
  std::string out;
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
  } else if (code < 0x10000) {
    out += {static_cast<char>(0xE0 | code >> 12), static_cast<char>(0x80 | (code >> 6 & 0x3F)),
            static_cast<char>(0x80 | (code & 0x3F))};
  } else {
    out += {static_cast<char>(0xF0 | code >> 18), static_cast<char>(0x80 | (code >> 12 & 0x3F)),
            static_cast<char>(0x80 | (code >> 6 & 0x3F)), static_cast<char>(0x80 | (code & 0x3F))};
  }
  return out;
}

TEST(Utf8, EveryCodePointIsWellFormedAndEverySurrogateIsNot) {
  for (char32_t code = 0; code <= 0x10FFFF; ++code) {
    const std::string text = encode(code);
    const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    ASSERT_EQ(utf8_valid_prefix(bytes(text)), surrogate ? 0 : text.size())
        << static_cast<std::uint32_t>(code);
  }
  EXPECT_EQ(utf8_valid_prefix(bytes(encode(0x110000))), 0u);
}

TEST(Utf8, OverlongTruncatedAndStrayBytesAreFoundWhereTheyAre) {
  for (const char* bad : {"\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\x80", "\xC2",
                          "\xE2\x82", "\xF0\x9F\x98", "\xFF", "\xF5\x80\x80\x80", "\xC2\x20"}) {
    EXPECT_EQ(utf8_valid_prefix(bytes(std::string("ok") + bad)), 2u) << bad;
  }
  const Status status = check_text(bytes("caf\xC3"), 100);
  EXPECT_EQ(status.code(), Code::kInvalidContent);
  EXPECT_NE(status.message().find("byte 3"), std::string::npos);
}

TEST(CheckText, EmptyIsInvalidAndLongIsTooLarge) {
  EXPECT_EQ(check_text({}, 10).code(), Code::kInvalidContent);
  EXPECT_TRUE(check_text(bytes("0123456789"), 10).ok());
  const Status status = check_text(bytes("0123456789a"), 10);
  EXPECT_EQ(status.code(), Code::kTooLarge);
  EXPECT_EQ(status.message(), "the text has 11 bytes; the limit is 10");
}

TEST(SplitText, BreaksAfterWhiteSpaceWhereThereIsAny) {
  EXPECT_EQ(split_text(bytes("short"), 8), (std::vector<TextSpan>{{0, 5}}));
  EXPECT_EQ(split_text(bytes("exactly8"), 8), (std::vector<TextSpan>{{0, 8}}));
  EXPECT_EQ(split_text(bytes("one two three"), 8), (std::vector<TextSpan>{{0, 8}, {8, 13}}));
  EXPECT_EQ(split_text(bytes("one twothree"), 8), (std::vector<TextSpan>{{0, 4}, {4, 12}}));
  EXPECT_EQ(split_text(bytes("ab\xE3\x80\x80"
                             "cdefgh"),
                       8),
            (std::vector<TextSpan>{{0, 5}, {5, 11}}));
  EXPECT_TRUE(split_text({}, 8).empty());
}

TEST(SplitText, NeverCutsACodePoint) {
  EXPECT_EQ(split_text(bytes("aaa\xF0\x9F\x98\x80"), 4), (std::vector<TextSpan>{{0, 3}, {3, 7}}));
}

TEST(SplitText, RowsCoverTheTextAndAreThemselvesText) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    const int letters = static_cast<int>(random() % 60) + 1;
    for (int i = 0; i < letters; ++i) {
      const char32_t pool[] = {U'a', U' ', U'é', U'ก', U'\u3000', U'😀', U'\n'};
      text += encode(pool[random() % 7]);
    }
    const std::uint32_t most = 4 + random() % 20;
    std::uint32_t next = 0;
    for (const TextSpan& row : split_text(bytes(text), most)) {
      ASSERT_EQ(row.start, next);
      ASSERT_GT(row.end, row.start);
      ASSERT_LE(row.end - row.start, most);
      const auto part = bytes(text).subspan(row.start, row.end - row.start);
      ASSERT_EQ(utf8_valid_prefix(part), part.size());
      next = row.end;
    }
    ASSERT_EQ(next, text.size());
  }
}

TEST(BucketFor, IsTheSmallestThatHolds) {
  const std::int32_t buckets[] = {16, 64, 256};
  EXPECT_EQ(bucket_for(buckets, 0), 16);
  EXPECT_EQ(bucket_for(buckets, 16), 16);
  EXPECT_EQ(bucket_for(buckets, 17), 64);
  EXPECT_EQ(bucket_for(buckets, 256), 256);
}

}  // namespace
}  // namespace floodgate
