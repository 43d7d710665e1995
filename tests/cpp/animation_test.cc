#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "encoded_animations.h"
#include "floodgate/sequence.h"
#include "media/canvas.h"

namespace floodgate {
namespace {

using namespace testing;

struct Frame {
  std::int64_t time_ms = 0;
  Data rgb;

  bool operator==(const Frame&) const = default;
};

struct Read {
  std::vector<Frame> frames;
  std::uint32_t similar = 0;
  SequenceFacts facts;
  Status status;
};

// Every planned frame; with `reopen`, the source is dropped after each and opened again at the cursor.
Read read(const Data& data, const SamplingPlan& plan = {.max_frames = 64}, const MediaLimits& limits = {},
          bool reopen = false) {
  Read result;
  const auto info = probe(data, limits);
  if (!info.ok()) {
    result.status = info.status();
    return result;
  }
  FrameCursor cursor;
  auto source = FrameSource::open(data, info.value(), limits, plan, cursor);
  while (source.ok()) {
    PictureSink sink;
    const auto step = source.value()->next(cursor, sink);
    if (!step.ok()) {
      result.status = step.status();
      return result;
    }
    result.facts = source.value()->facts();
    if (step.value().kind == StepKind::kEnd) return result;
    if (step.value().kind == StepKind::kSimilar) {
      ++result.similar;
    } else {
      auto picture = sink.take();
      EXPECT_TRUE(picture.ok());
      const Picture& shown = picture.value();
      result.frames.push_back({step.value().time_ms, Data(shown.rgb.get(), shown.rgb.get() + shown.bytes())});
    }
    if (reopen) source = FrameSource::open(data, info.value(), limits, plan, cursor);
  }
  result.status = source.status();
  return result;
}

Data solid(std::uint32_t pixels, const Rgba& color) {
  Data rgba;
  for (std::uint32_t i = 0; i < pixels; ++i) put_data(rgba, color);
  return rgba;
}

Data three_frames_gif() {
  return gif({}, {{.color = 1}, {.left = 2, .width = 4, .color = 2}, {.delay_cs = 0, .color = 3}});
}

Data three_frames_apng() {
  return apng(8, 8,
              {{.rgba = solid(64, {200, 0, 0, 255})},
               {.left = 1, .top = 1, .width = 4, .height = 4, .rgba = solid(16, {0, 0, 200, 255})},
               {.delay_ms = 10, .blend = 1, .rgba = solid(64, {0, 200, 0, 128})}});
}

TEST(Animation, FramesComeAtTheirTimes) {
  const Read read_gif = read(three_frames_gif());
  ASSERT_TRUE(read_gif.status.ok()) << read_gif.status.message();
  ASSERT_EQ(read_gif.frames.size(), 3U);
  EXPECT_EQ(read_gif.frames[1].time_ms, 100);
  EXPECT_EQ(read_gif.frames[2].time_ms, 200);
  EXPECT_EQ(read_gif.facts.duration_ms, 300);  // no delay is shown for 100 ms
  EXPECT_STREQ(read_gif.facts.codec, "gif");
  const Read read_apng = read(three_frames_apng());
  ASSERT_EQ(read_apng.frames.size(), 3U);
  EXPECT_EQ(read_apng.frames[1].time_ms, 50);
  EXPECT_EQ(read_apng.facts.duration_ms, 200);
  EXPECT_STREQ(read_apng.facts.codec, "apng");
  const Read read_avif = read(avif(16, 16, {.frames = 3}));
  ASSERT_EQ(read_avif.frames.size(), 3U) << read_avif.status.message();
  EXPECT_EQ(read_avif.frames[2].time_ms, 200);
  EXPECT_STREQ(read_avif.facts.codec, "avif");
}

TEST(Animation, OpeningAgainAtTheCursorGivesTheSameFrames) {
  for (const Data& data : {three_frames_gif(), three_frames_apng(), avif(16, 16, {.frames = 4})}) {
    const Read once = read(data);
    const Read again = read(data, {.max_frames = 64}, {}, true);
    EXPECT_GE(once.frames.size(), 3U);
    EXPECT_EQ(once.frames, again.frames);
  }
}

TEST(Animation, FirstAndLastFramesAreAlwaysShown) {
  std::vector<GifFrameOptions> frames;
  for (std::uint8_t i = 0; i < 20; ++i) frames.push_back({.color = static_cast<std::uint8_t>(1 + i % 3)});
  const Read few = read(gif({}, frames), {.max_frames = 2});
  ASSERT_EQ(few.frames.size(), 2U);
  EXPECT_EQ(few.frames[0].time_ms, 0);
  EXPECT_EQ(few.frames[1].time_ms, 1900);
  EXPECT_EQ(few.facts.planned, 2U);
}

TEST(Animation, NearCopiesAreLeftOutAndCounted) {
  const Read copies = read(gif({}, {{.color = 1}, {.color = 1}, {.color = 1}, {.color = 2}}));
  EXPECT_EQ(copies.frames.size(), 2U);
  EXPECT_EQ(copies.similar, 2U);
  EXPECT_EQ(copies.facts.planned, 4U);
}

TEST(Animation, TranslucentPixelsStayOpaqueOverOpaqueOnes) {
  const Read frames = read(three_frames_apng());
  ASSERT_EQ(frames.frames.size(), 3U);
  const Data& last = frames.frames[2].rgb;
  EXPECT_EQ(Data(last.begin(), last.begin() + 3), (Data{100, 100, 0}));  // half green over red
  const Data inside(last.begin() + 3 * (8 + 1), last.begin() + 3 * (8 + 2));
  EXPECT_EQ(inside, (Data{0, 100, 100}));  // over blue
}

TEST(Animation, DisposalClearsOrRestores) {
  const auto shown = [](std::uint8_t dispose) {
    const Data data = apng(2, 1,
                           {{.width = 2, .height = 1, .rgba = solid(2, {200, 0, 0, 255})},
                            {.width = 1, .height = 1, .dispose = dispose, .rgba = solid(1, {0, 0, 200, 255})},
                            {.left = 1, .width = 1, .height = 1, .rgba = solid(1, {0, 200, 0, 255})}});
    return read(data).frames.back().rgb;
  };
  EXPECT_EQ(shown(0), (Data{0, 0, 200, 0, 200, 0}));
  EXPECT_EQ(shown(1), (Data{255, 255, 255, 0, 200, 0}));
  EXPECT_EQ(shown(2), (Data{200, 0, 0, 0, 200, 0}));
}

TEST(Animation, APictureThatIsNoFrameIsShownFirst) {
  const Data animated = three_frames_apng();
  // The first frame's control goes, so that its pixels are no frame any more.
  const Data fctl = {'f', 'c', 'T', 'L'};
  auto at = std::search(animated.begin(), animated.end(), fctl.begin(), fctl.end()) - 4;
  Data data(animated.begin(), at);
  data.insert(data.end(), at + 38, animated.end());
  const Read frames = read(data);
  ASSERT_EQ(frames.frames.size(), 3U) << frames.status.message();
  EXPECT_EQ(frames.frames[1].time_ms, 100);
  // The animation starts from a clear canvas.
  EXPECT_EQ(Data(frames.frames[1].rgb.begin(), frames.frames[1].rgb.begin() + 3), (Data{255, 255, 255}));
}

TEST(Animation, CutFilesGiveTheFramesBeforeTheCut) {
  for (const Data& data : {three_frames_gif(), three_frames_apng()}) {
    const Read whole = read(data);
    const Data cut(data.begin(), data.end() - 30);
    const Read part = read(cut);
    ASSERT_TRUE(part.status.ok()) << part.status.message();
    EXPECT_EQ(part.frames.size(), 2U);
    EXPECT_TRUE(std::equal(part.frames.begin(), part.frames.end(), whole.frames.begin()));
    EXPECT_NE(part.facts.notes & kNoteTruncated, 0U);
    EXPECT_EQ(whole.facts.notes, 0U);
  }
}

TEST(Animation, LimitsHoldWhereTheProbeCouldNotTell) {
  const std::vector<GifFrameOptions> many(6'000, {.width = 1, .height = 1});
  const Data endless = gif({}, many);
  ASSERT_EQ(probe(endless, {}).value().frames, 0U);
  EXPECT_EQ(read(endless).status.code(), Code::kTooLarge);
  EXPECT_EQ(read(endless, {.max_frames = 4}, {.max_duration_ms = 5'000}).status.code(), Code::kTooLarge);
  // A canvas that a later frame would make too large.
  const Data growing = gif({}, {{}, {.left = 60'000, .top = 60'000}});
  EXPECT_EQ(read(growing).status.code(), Code::kTooLarge);
}

TEST(Animation, ChangedBytesNeverCrash) {
  const MediaLimits limits = {.max_pixels = 4096, .max_animation_frames = 16};
  for (const Data& data : {three_frames_gif(), three_frames_apng()}) {
    for (std::size_t at = 0; at < data.size(); ++at) {
      for (const int flip : {0x01, 0x40, 0xFF}) {
        Data changed = data;
        changed[at] = static_cast<std::uint8_t>(changed[at] ^ flip);
        const auto info = probe(changed, limits);
        if (info.ok() && info.value().is_sequence()) read(changed, {.max_frames = 8}, limits);
      }
    }
  }
}

TEST(Canvas, BlendsOverAsTheStandardSays) {
  const Data over = {100, 0, 0, 128};
  Data clear = {9, 9, 9, 0};
  blend_over(over.data(), clear.data(), 1);
  EXPECT_EQ(clear, over);
  Data half = {0, 0, 100, 128};
  blend_over(over.data(), half.data(), 1);
  EXPECT_EQ(half, (Data{67, 0, 33, 192}));
}

}  // namespace
}  // namespace floodgate
