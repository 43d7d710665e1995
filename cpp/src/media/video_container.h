// The main video stream of a container in memory, packet by packet.
//
// Opens FFmpeg's demuxer for the format that probe() found, never another one, and lets it open nothing else:
// no file, no protocol, no external reference. Cover pictures are not video; of several video streams one is
// main (those that can be decoded before others, then the default one, then the largest). Packets come with
// times in whole microseconds on one time line: where a transport stream's clock jumps, or another
// container's is set back, what follows is joined on. Thread rule: one container, one thread. Refused: what
// has no video, named by what it has.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>

#include "floodgate/media.h"
#include "floodgate/status.h"
#include "libav.h"
#include "packet_order.h"
#include "video_extent.h"
#include "video_memory.h"

namespace floodgate {

inline constexpr std::int64_t kNoTime = INT64_MIN;

struct VideoPacket {
  PacketPtr packet;
  std::int64_t time_us = 0;  // when it is shown; when it is decoded, where the container tells only that
  std::int64_t end_us = 0;   // time_us and its duration
  bool key = false;
  bool shown = true;  // false: decoded only, by the edit list
  bool whole = true;  // false: cut off or marked as corrupt
};

// Where decoding can begin. Plain data.
struct KeyPoint {
  std::int64_t time_us = 0;       // when it is shown; an estimate unless `exact`
  std::int64_t seek = 0;          // the demuxer's own measure: stream time base, or a byte position
  std::int64_t dts = kNoTime;     // as stored, stream time base
  std::int64_t jump = 0;          // what the time line was joined by, stream time base
  std::int64_t before = kNoTime;  // the latest time before it, stream time base; kNoTime: unknown
  std::int64_t pos = -1;          // of its packet in the data; -1: unknown
  bool exact = true;
  bool shown = true;
  bool marked = true;  // false: no key frame, but there is none before it
};

class VideoContainer {
 public:
  // Errors: kInvalidContent, kUnsupported, kOverloaded.
  static Result<std::unique_ptr<VideoContainer>> open(std::span<const std::uint8_t> data, Format format);

  [[nodiscard]] Format format() const { return format_; }
  [[nodiscard]] AVFormatContext* context() const { return context_.get(); }
  [[nodiscard]] AVStream* stream() const { return stream_; }
  [[nodiscard]] const AVCodec* codec() const { return codec_; }
  [[nodiscard]] const VideoExtent& extent() const { return extent_; }
  [[nodiscard]] bool other_streams() const { return other_streams_; }
  // Whether packets tell only when they are decoded (AVI): the frames' times are these in ascending order.
  [[nodiscard]] bool decode_order_times() const { return decode_order_times_; }
  // The times of showing are no use: from the next packet on they are those of decoding. Keys are others
  // then.
  void use_decode_order_times() { decode_order_times_ = true; }
  // Whether the clock was found set back, and what follows joined on.
  [[nodiscard]] bool set_back() const { return set_back_; }
  // A new operation begins: see MemoryInput.
  void renew_budget() { input_->renew_budget(); }

  // The next packet of the main stream; false at the end of what can be read.
  bool read(VideoPacket& packet);
  // Makes read() go on with the key packet of `key`, or the nearest before it that there is. False: it cannot
  // be reached.
  bool seek(const KeyPoint& key);
  // Back to the very first packet.
  bool rewind();
  // The key point of a packet that read() has just given.
  [[nodiscard]] KeyPoint key_point(const VideoPacket& packet) const;

  // Stream time base to microseconds; saturates at ±2^60.
  [[nodiscard]] std::int64_t microseconds(std::int64_t time) const;

 private:
  VideoContainer(std::unique_ptr<MemoryInput> input, Format format, const VideoExtent& extent);
  Status start();
  Status choose_stream();
  Status no_video() const;
  enum class Landing : std::uint8_t { kBefore, kThere, kPast };
  bool read_raw(AVPacket& packet);
  [[nodiscard]] Landing landing_at(const AVPacket& packet) const;
  bool seek_earlier();
  void join_jump(AVPacket& packet);
  void join_set_back(AVPacket& packet);

  const std::unique_ptr<MemoryInput> input_;  // outlives context_
  const Format format_;
  const VideoExtent extent_;
  FormatPtr context_;
  AVStream* stream_ = nullptr;
  const AVCodec* codec_ = nullptr;
  bool other_streams_ = false;
  bool decode_order_times_ = false;
  bool set_back_ = false;
  TimeLine time_line_{0};
  std::deque<PacketPtr> early_;  // read while waiting for a stream to show
  KeyPoint wanted_;              // what read() skips to
  bool skipping_ = false;
  bool by_dts_ = false, from_start_ = false;  // how `wanted_` is sought, when not by its time of showing
  int searches_ = 0;                          // from the start
  std::int64_t jump_ = 0;
  std::int64_t previous_dts_ = kNoTime;  // before `jump_`
  std::int64_t previous_time_ = kNoTime;
};

}  // namespace floodgate
