#include "video_index.h"

#include <algorithm>
#include <optional>
#include <string>

#include "floodgate/sequence.h"
#include "packet_order.h"

namespace floodgate {
namespace {

// Four hours at 240 frames a second: more packets than that are no video.
constexpr std::uint64_t kMaxPackets = 4'000'000;

// Bidirectional frames in a row, at most, in the codecs of before H.264.
constexpr std::int64_t kReorderedFrames = 3;

Status too_many() {
  return {Code::kTooLarge, "the video has more than " + std::to_string(kMaxPackets) + " frames"};
}

// What packets tell as they come by.
class Reading {
 public:
  explicit Reading(const VideoContainer& container)
      : order(*container.stream(), container.format() != Format::kMatroska) {}

  void see(const VideoContainer& container, const VideoPacket& packet) {
    ++packets;
    order.see(*packet.packet, packet.time_us, packet.shown);
    const KeyPoint point = container.key_point(packet);
    // Transport streams joined end to end begin counting packets anew, which FFmpeg takes for a loss in one
    // of the last frames of the first. None is lost where the next begins with a key frame, either in time or
    // with its clock set back, and no frame lacks packets.
    const std::int64_t step_us = packet.time_us - previous_.time_us;
    const bool joint = packet.key && !container.extent().torn &&
                       (point.jump > previous_.jump || (point.jump == previous_.jump && step_us <= step_us_));
    if (suspect_ > 0 && joint) suspect_ = 0;
    if (suspect_ > 0 && --suspect_ == 0) broken_ = true;
    if (packets > 1) step_us_ = std::max(step_us_, step_us);
    previous_ = point;
    if (!packet.whole && container.format() == Format::kMpegTs) suspect_ = 3;
    if (!packet.whole && container.format() != Format::kMpegTs) broken_ = true;
    if (keys.empty() && !packet.key) {
      if (packets == 1) first = container.key_point(packet);
      headless = true;
    }
    // Half a key frame is none to begin at, unless it is all there is.
    if (packet.key && (packet.whole || keys.empty())) keys.push_back(container.key_point(packet));
    if (!keys.empty() && packet.shown && packet.time_us >= keys.front().time_us) {
      first_us = std::min(first_us.value_or(packet.time_us), packet.time_us);
    }
    if (packet.shown && packet.whole && packet.time_us >= last_us.value_or(packet.time_us)) {
      last_us = packet.time_us;
      end_us = packet.end_us;
    }
  }

  PacketOrder order;
  std::uint64_t packets = 0;
  std::vector<KeyPoint> keys;
  KeyPoint first;  // the first packet, when it is no key packet
  std::optional<std::int64_t> first_us, last_us;
  std::int64_t end_us = 0;
  [[nodiscard]] bool is_broken() const { return broken_ || suspect_ > 0; }
  bool headless = false;  // packets came before the first key packet

 private:
  KeyPoint previous_;         // the packet before
  std::int64_t step_us_ = 0;  // the longest time from one packet to the next
  int suspect_ = 0;           // packets that may follow before one that was marked as corrupt proves to be so
  bool broken_ = false;
};

Result<VideoIndex> no_frames(const VideoContainer& container) {
  return Status(Code::kInvalidContent, container.extent().cut_short ? "the video ends before its first frame"
                                                                    : "the video has no frames");
}

// Keeps keys whose times ascend: what goes back in time is reached from the key before it.
void keep_ascending(std::vector<KeyPoint>& keys) {
  std::vector<KeyPoint> kept;
  for (const KeyPoint& key : keys) {
    if (kept.empty() || key.time_us > kept.back().time_us) kept.push_back(key);
  }
  keys = std::move(kept);
}

Result<VideoIndex> finish(const VideoContainer& container, Reading& reading, VideoIndex index) {
  if (reading.packets == 0) return no_frames(container);
  if (reading.keys.empty()) {
    // None is marked: some encoders refresh the picture bit by bit. Decoding begins at the beginning.
    reading.keys.push_back(reading.first);
    reading.first_us = reading.first.time_us;
  } else if (reading.headless) {
    index.notes |= kNoteNoFirstKeyFrame;
  }
  if (index.keys.empty()) index.keys = std::move(reading.keys);
  keep_ascending(index.keys);
  index.first_us = reading.first_us.value_or(index.keys.front().time_us);
  index.last_us = std::max(index.first_us, reading.last_us.value_or(index.first_us));
  index.end_us = std::max(index.last_us, reading.end_us);
  // Frames of AVI's times are in the order of decoding: a key frame may be shown some frames after its own.
  const AVCodecDescriptor* const codec = avcodec_descriptor_get(container.codec()->id);
  if (container.decode_order_times() && codec != nullptr && (codec->props & AV_CODEC_PROP_REORDER) != 0) {
    const std::int64_t frame_us = std::clamp<std::int64_t>(index.end_us - index.last_us, 0, 1'000'000);
    for (std::size_t i = 1; i < index.keys.size(); ++i) index.keys[i].time_us += kReorderedFrames * frame_us;
  }
  if (container.extent().cut_short) index.notes |= kNoteTruncated;
  if (container.extent().missing) index.notes |= kNoteMissing;
  if (container.other_streams()) index.notes |= kNoteOtherStreams;
  return index;
}

Result<VideoIndex> read_through(VideoContainer& container, bool& disagrees) {
  container.renew_budget();
  if (!container.rewind()) return no_frames(container);
  Reading reading(container);
  VideoPacket packet;
  while (container.read(packet)) {
    reading.see(container, packet);
    if (reading.packets > kMaxPackets) return too_many();
  }
  VideoIndex index;
  index.notes = kNoteNoIndex;
  disagrees = reading.order.disagrees();
  if (container.set_back()) index.notes |= kNoteTimesGoBack;
  if (reading.is_broken()) index.notes |= container.extent().cut_short ? kNoteTruncated : kNoteDamaged;
  return finish(container, reading, std::move(index));
}

// The key frames that the container's own index names within the data; of those beyond it, that there are
// some.
struct StoredKeys {
  std::vector<KeyPoint> keys;
  bool beyond = false;
};

StoredKeys stored_keys(VideoContainer& container) {
  StoredKeys stored;
  AVStream* const stream = container.stream();
  if (container.format() == Format::kMatroska) {
    // Cues are read by the first seek.
    if (av_seek_frame(container.context(), stream->index, 0, AVSEEK_FLAG_BACKWARD) < 0) return stored;
  }
  const int entries = avformat_index_get_entries_count(stream);
  const std::int64_t size = avio_size(container.context()->pb);
  for (int i = 0; i < entries; ++i) {
    const AVIndexEntry* const entry = avformat_index_get_entry(stream, i);
    if (entry == nullptr || entry->pos < 0) continue;
    if (entry->pos >= size || entry->size > size - entry->pos) {
      stored.beyond = true;
      continue;
    }
    if ((entry->flags & AVINDEX_KEYFRAME) == 0) continue;
    KeyPoint key;
    key.seek = entry->timestamp;
    key.dts = container.format() == Format::kMatroska ? kNoTime : entry->timestamp;
    if (container.format() == Format::kMp4) key.pos = entry->pos;  // its packet's; of others its header's
    key.time_us = container.microseconds(entry->timestamp);
    key.exact = container.format() == Format::kMatroska;
    key.shown = (entry->flags & AVINDEX_DISCARD_FRAME) == 0;
    stored.keys.push_back(key);
  }
  return stored;
}

bool may_have_index(const VideoContainer& container) {
  switch (container.format()) {
    case Format::kMp4:
      return !container.extent().fragmented;
    case Format::kMatroska:
    case Format::kAvi:
      return true;
    default:
      return false;
  }
}

Status check_duration(const VideoIndex& index, const MediaLimits& limits) {
  const std::int64_t duration_ms = (index.last_us - index.first_us) / 1000;
  if (duration_ms <= std::int64_t{limits.max_duration_ms}) return {};
  return {Code::kTooLarge, "the video lasts " + std::to_string(duration_ms) +
                               " ms; the limit (max_duration_ms) is " +
                               std::to_string(limits.max_duration_ms)};
}

// A key frame that refers to nothing may have frames before it on the screen that come after it in the file,
// so that its own time is told by its packet alone.
bool read_times(VideoContainer& container, std::vector<KeyPoint>& keys) {
  VideoPacket packet;
  std::vector<KeyPoint> reached;
  for (KeyPoint& key : keys) {
    if (!container.seek(key) || !container.read(packet)) return false;
    const KeyPoint read = container.key_point(packet);
    if (read.dts != key.dts) continue;  // the demuxer does not give it: what follows is reached from another
    key.time_us = read.time_us;
    key.seek = read.seek;
    key.exact = true;
    reached.push_back(key);
  }
  keys = std::move(reached);
  return !keys.empty();
}

// The stored index with both ends read; nothing when it is not to be trusted.
std::optional<VideoIndex> read_ends(VideoContainer& container, StoredKeys stored, bool& disagrees) {
  if (stored.keys.empty()) return std::nullopt;
  VideoPacket packet;
  if (!container.rewind()) return std::nullopt;
  Reading head(container);
  // Packets up to the first key packet, and of its group what may be shown before it.
  constexpr int kGroup = 24;
  for (int after_key = 0; after_key < kGroup && container.read(packet);) {
    head.see(container, packet);
    if (head.keys.empty() && head.packets > kMaxPackets) return std::nullopt;
    if (!head.keys.empty()) ++after_key;
  }
  if (head.packets == 0 || head.keys.empty()) return std::nullopt;

  // MP4 and AVI list decode times; times of showing follow them at the distance that the first one has.
  const KeyPoint& first = head.keys.front();
  if (!stored.keys.front().exact) {
    constexpr std::int64_t kFar = std::int64_t{1} << 60;
    const auto near = [](std::int64_t time) { return time > -kFar && time < kFar; };
    if (first.dts == kNoTime || !near(first.seek) || !near(first.dts)) return std::nullopt;
    const std::int64_t delay = first.seek - first.dts;
    for (KeyPoint& key : stored.keys) {
      if (!near(key.seek)) return std::nullopt;
      key.seek += delay;
      key.time_us = container.microseconds(key.seek);
    }
    if (container.format() == Format::kMp4 && delay > 0 && !read_times(container, stored.keys))
      return std::nullopt;
  }
  if (stored.keys.front().time_us > first.time_us) stored.keys.insert(stored.keys.begin(), first);
  keep_ascending(stored.keys);

  Reading tail(container);
  if (!container.seek(stored.keys.back())) return std::nullopt;
  while (container.read(packet)) {
    tail.see(container, packet);
    if (tail.packets > kMaxPackets) return std::nullopt;
  }
  if (tail.packets == 0 || !tail.last_us) return std::nullopt;
  head.last_us = tail.last_us;
  head.end_us = tail.end_us;
  VideoIndex index;
  index.keys = std::move(stored.keys);
  disagrees = head.order.disagrees() || tail.order.disagrees();
  if (tail.is_broken() || stored.beyond) index.notes |= kNoteTruncated;
  auto finished = finish(container, head, std::move(index));
  if (!finished.ok()) return std::nullopt;
  return std::move(finished).value();
}

}  // namespace

namespace {

// `disagrees`: becomes whether the times cannot be those of the frames.
Result<VideoIndex> read_once(VideoContainer& container, bool& disagrees) {
  container.renew_budget();
  StoredKeys stored;
  if (may_have_index(container)) {
    if (avformat_index_get_entries_count(container.stream()) > static_cast<int>(kMaxPackets))
      return too_many();
    stored = stored_keys(container);
    // A clock that was set back between two entries shows only to who reads all, as does one in Matroska.
    if (container.format() != Format::kMatroska && !container.extent().far_offsets) {
      if (auto index = read_ends(container, stored, disagrees)) return *std::move(index);
    }
  }
  auto index = read_through(container, disagrees);
  const bool matroska = container.format() == Format::kMatroska;
  if (!index.ok() || (!matroska && !container.extent().far_offsets)) return index;
  VideoIndex whole = std::move(index).value();
  if (!stored.keys.empty() && (matroska || !disagrees)) whole.notes &= ~std::uint32_t{kNoteNoIndex};
  if (stored.beyond) whole.notes |= kNoteTruncated;
  return whole;
}

}  // namespace

Result<VideoIndex> read_index(VideoContainer& container, const MediaLimits& limits) {
  bool disagrees = false;
  auto index = read_once(container, disagrees);
  if (disagrees && !container.decode_order_times()) {
    container.use_decode_order_times();
    index = read_once(container, disagrees);
    if (index.ok()) {
      VideoIndex again = std::move(index).value();
      again.notes |= kNoteTimesGoBack;
      // Where decoding begins within groups of pictures that refer to the one before, frames are skipped that
      // come first on the screen: nothing tells then by how much that shifts the others.
      const AVCodecID codec = container.codec()->id;
      const bool shifts = reorder_depth_of(codec) > 0 && codec != AV_CODEC_ID_H264;
      if (codec == AV_CODEC_ID_HEVC || (shifts && container.set_back())) again.notes |= kNoteOutOfOrder;
      index = std::move(again);
    }
  }
  if (!index.ok()) return index;
  if (Status status = check_duration(index.value(), limits); !status.ok()) return status;
  return index;
}

}  // namespace floodgate
