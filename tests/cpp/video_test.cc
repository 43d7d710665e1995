#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "encoded_videos.h"
#include "floodgate/sequence.h"
#include "media/tone_map.h"
#include "media/video_extent.h"
#include "media/video_pixels.h"

namespace floodgate {
namespace {

using namespace testing;
using Data = std::vector<std::uint8_t>;

struct Shown {
  std::int64_t time_ms = 0;
  bool similar = false;
  Data pixels;

  bool operator==(const Shown&) const = default;
  // The grey of its lower part, as stored: the luma that makes it in limited range.
  [[nodiscard]] int luma() const {
    return static_cast<int>(std::lround(16 + pixels[pixels.size() - 30] * 219.0 / 255.0));
  }
};

struct Watched {
  std::vector<Shown> frames;
  SequenceFacts facts;
  Status status;
};

// Every planned frame; with `drop`, from a source that is dropped and opened again before each.
Watched watch(const Data& data, const SamplingPlan& plan, bool drop = false, const MediaLimits& limits = {}) {
  Watched watched;
  const auto info = probe(data, limits);
  if (!info.ok()) return {{}, {}, info.status()};
  FrameCursor cursor;
  std::unique_ptr<FrameSource> source;
  while (true) {
    if (!source || drop) {
      auto opened = FrameSource::open(data, info.value(), limits, plan, cursor);
      if (!opened.ok()) return {{}, {}, opened.status()};
      source = std::move(opened).value();
    }
    PictureSink sink;
    const auto step = source->next(cursor, sink);
    watched.facts = source->facts();
    if (!step.ok()) {
      watched.status = step.status();
      return watched;
    }
    if (step.value().kind == StepKind::kEnd) return watched;
    Shown shown{step.value().time_ms, step.value().kind == StepKind::kSimilar, {}};
    if (!shown.similar) {
      const auto picture = sink.take();
      EXPECT_TRUE(picture.ok());
      if (picture.ok()) {
        shown.pixels.assign(picture.value().rgb.get(), picture.value().rgb.get() + picture.value().bytes());
      }
    }
    watched.frames.push_back(std::move(shown));
  }
}

constexpr const char* kContainers[] = {"mp4", "matroska", "mpegts", "avi", "flv"};

// FLV has no MPEG-4 in FFmpeg 5.
std::vector<VideoOptions> kinds() {
  std::vector<VideoOptions> found;
  for (const char* const container : kContainers) {
    for (const int bframes : {0, 2}) {
      if (std::string(container) == "flv") continue;
      VideoOptions options;
      options.container = container;
      options.bframes = bframes;
      found.push_back(options);
    }
  }
  VideoOptions fragmented;
  fragmented.movie_flags = "frag_keyframe+empty_moov";
  found.push_back(fragmented);
  return found;
}

TEST(Video, FramesAreThoseOfTheirTimes) {
  for (const VideoOptions& options : kinds()) {
    SCOPED_TRACE(std::string(options.container) + " " + std::to_string(options.bframes));
    const Data data = video(options);
    for (std::uint64_t seed = 0; seed < 3; ++seed) {
      const Watched watched = watch(data, {20, 0, seed});
      ASSERT_TRUE(watched.status.ok()) << watched.status.message();
      EXPECT_GT(watched.frames.size(), 8u);
      EXPECT_EQ(watched.frames.front().time_ms, 0);
      EXPECT_EQ(watched.frames.back().time_ms, (options.frames - 1) * 1000 / options.fps);
      for (const Shown& shown : watched.frames) {
        const auto number = static_cast<int>((shown.time_ms * options.fps + 500) / 1000);
        EXPECT_NEAR(shown.luma(), grey_of(number), 3) << "at " << shown.time_ms << " ms";
      }
      EXPECT_STREQ(watched.facts.codec, "mpeg4");
      EXPECT_EQ(watched.facts.width, 96u);
      EXPECT_EQ(watched.facts.height, 64u);
    }
  }
}

TEST(Video, DroppedAndOpenedAgainAnywhereItGoesOnWithTheSameFrames) {
  for (const VideoOptions& options : kinds()) {
    SCOPED_TRACE(std::string(options.container) + " " + std::to_string(options.bframes));
    const Data data = video(options);
    for (const std::uint32_t frames : {1u, 2u, 9u, 60u}) {
      const Watched straight = watch(data, {frames, 0, 7});
      const Watched dropped = watch(data, {frames, 0, 7}, true);
      ASSERT_TRUE(straight.status.ok()) << straight.status.message();
      EXPECT_TRUE(straight.frames == dropped.frames);
      EXPECT_EQ(straight.facts.planned, dropped.facts.planned);
    }
  }
}

TEST(Video, NearCopiesAreToldAndNotShown) {
  VideoOptions options;
  options.still = true;
  const Watched watched = watch(video(options), {8, 0, 1});
  ASSERT_TRUE(watched.status.ok());
  ASSERT_GT(watched.frames.size(), 4u);
  for (std::size_t i = 0; i < watched.frames.size(); ++i) EXPECT_EQ(watched.frames[i].similar, i > 0);
}

TEST(Video, EveryCutGivesFramesOrAReason) {
  for (const VideoOptions& options : kinds()) {
    SCOPED_TRACE(options.container);
    const Data data = video(options);
    for (std::size_t size = 1; size < data.size(); size += data.size() / 23) {
      const Watched watched =
          watch(Data(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(size)), {6, 0, 1});
      if (!watched.status.ok()) {
        EXPECT_FALSE(watched.status.message().empty());
      } else {
        EXPECT_FALSE(watched.frames.empty());
      }
    }
  }
}

TEST(Video, ChangedBytesGiveFramesOrAReason) {
  std::uint32_t random = 1;
  const auto draw = [&] { return random = random * 1664525 + 1013904223, random >> 8; };
  for (const VideoOptions& options : kinds()) {
    SCOPED_TRACE(options.container);
    const Data data = video(options);
    for (int round = 0; round < 30; ++round) {
      Data changed = data;
      for (std::uint32_t i = 0; i <= draw() % 20; ++i) {
        changed[draw() % changed.size()] = static_cast<std::uint8_t>(draw());
      }
      const Watched watched = watch(changed, {6, 0, 1}, false, {.max_pixels = 1 << 20});
      EXPECT_TRUE(!watched.status.ok() || !watched.frames.empty());
    }
  }
}

TEST(Video, FramesLostInTheMiddleAreSaid) {
  Data data = video({});
  EXPECT_EQ(watch(data, {.max_frames = 16}).facts.notes & kNoteDamaged, 0U);
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  const std::size_t media = text.find("mdat");
  const std::size_t end = std::max(text.find("moov"), media) == media ? data.size() : text.find("moov");
  ASSERT_NE(media, std::string_view::npos);
  for (std::size_t at = media + (end - media) * 3 / 10; at < media + (end - media) * 9 / 10; ++at) {
    data[at] = static_cast<std::uint8_t>(at * 2'654'435'761U >> 13);
  }
  EXPECT_NE(watch(data, {.max_frames = 16}).facts.notes & kNoteDamaged, 0U);
}

TEST(Video, LimitsHold) {
  const Data data = video();
  const auto refused = [&](const MediaLimits& limits) {
    const auto info = probe(data, {});
    EXPECT_TRUE(info.ok());
    const auto source = FrameSource::open(data, info.value(), limits, {4, 0, 0}, {});
    return source.ok() ? Code::kOk : source.status().code();
  };
  EXPECT_EQ(refused({.max_video_bytes = 100}), Code::kTooLarge);
  EXPECT_EQ(refused({.max_side_px = 95}), Code::kTooLarge);
  EXPECT_EQ(refused({.max_duration_ms = 1000}), Code::kTooLarge);
  EXPECT_NE(refused({.max_pixels = 96 * 64 - 1}), Code::kOk);
  EXPECT_EQ(refused({.max_pixels = 96 * 64}), Code::kOk);
}

TEST(VideoExtent, SaysWhatIsCut) {
  for (const VideoOptions& options : kinds()) {
    SCOPED_TRACE(options.container);
    const Data data = video(options);
    const Format format = probe(data, {}).value().format;
    EXPECT_FALSE(video_extent(data, format).cut_short);
    EXPECT_TRUE(video_extent(std::span(data).first(data.size() - 5), format).cut_short);
  }
}

TEST(VideoExtent, FragmentsThatEndBeforeTheirMediaAreCut) {
  VideoOptions options;
  options.movie_flags = "frag_keyframe+empty_moov";
  const Data data = video(options);
  const std::string_view text(reinterpret_cast<const char*>(data.data()), data.size());
  const std::size_t header = text.rfind("moof") - 4;
  const std::size_t media = text.rfind("mdat") - 4;
  const auto cut_short = [&](std::size_t bytes) {
    return video_extent(std::span(data).first(bytes), Format::kMp4).cut_short;
  };
  EXPECT_FALSE(cut_short(header));  // a whole number of fragments
  for (std::size_t end = header + 1; end < media + 12; ++end) EXPECT_TRUE(cut_short(end)) << end - media;
}

TEST(Orientation, EveryMatrixOfRightAnglesHasItsNumber) {
  constexpr std::int32_t kOne = 1 << 16;
  constexpr int kParts[8][4] = {{1, 0, 0, 1}, {-1, 0, 0, 1}, {-1, 0, 0, -1}, {1, 0, 0, -1},
                                {0, 1, 1, 0}, {0, 1, -1, 0}, {0, -1, -1, 0}, {0, -1, 1, 0}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    const int(&part)[4] = kParts[orientation - 1];
    const std::int32_t matrix[9] = {
        part[0] * kOne, part[1] * kOne, 0, part[2] * kOne, part[3] * kOne, 0, 0, 0, 1 << 30};
    EXPECT_EQ(orientation_of(matrix), orientation);
  }
  // A hand-held phone's few degrees are none.
  const std::int32_t tilted[9] = {62000, 12000, 0, -12000, 62000, 0, 0, 0, 1 << 30};
  EXPECT_EQ(orientation_of(tilted), 1);
}

TEST(ToneMap, BlackStaysBlackThePeakIsWhiteAndGreysAscend) {
  for (const HdrTransfer transfer : {HdrTransfer::kPq, HdrTransfer::kHlg}) {
    const ToneMap map(transfer, 0, true);
    std::uint8_t previous = 0;
    for (std::uint32_t code = 0; code <= 0xFFFF; code += 255) {
      const auto sample = static_cast<std::uint16_t>(code);
      const std::uint16_t grey[3] = {sample, sample, sample};
      std::uint8_t rgb[3];
      map.map(grey, rgb, 1);
      EXPECT_GE(rgb[1] + 1, previous);  // the curve is a table
      EXPECT_NEAR(rgb[0], rgb[1], 1);
      EXPECT_NEAR(rgb[2], rgb[1], 1);
      if (code == 0) {
        EXPECT_EQ(rgb[1], 0);
      }
      previous = rgb[1];
    }
    EXPECT_GE(previous, 254);
  }
}

TEST(ToneMap, ColoursOfNoDisplayStayWithinBytes) {
  const ToneMap map(HdrTransfer::kPq, 4000, true);
  for (const std::uint16_t high : {std::uint16_t{30'000}, std::uint16_t{50'000}, std::uint16_t{65'535}}) {
    const std::uint16_t pure[9] = {high, 0, 0, 0, high, 0, 0, 0, high};
    std::uint8_t rgb[9];
    map.map(pure, rgb, 3);
    for (int i = 0; i < 3; ++i) {
      for (int c = 0; c < 3; ++c) {
        if (c != i) {
          EXPECT_LT(rgb[3 * i + c], rgb[3 * i + i]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace floodgate
