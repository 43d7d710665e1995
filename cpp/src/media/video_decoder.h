// FFmpeg's decoder of one stream: packets in, frames with their times out.
//
// One thread, no hardware. Frames larger than the limits are refused by the decoder before it allocates them.
// Thread rule: one decoder, one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <queue>
#include <vector>

#include "floodgate/media.h"
#include "floodgate/status.h"
#include "libav.h"
#include "video_container.h"

namespace floodgate {

class VideoDecoder {
 public:
  // Keeps no pointer to the container's stream, which may be opened anew. Errors: kUnsupported, kOverloaded.
  static Result<std::unique_ptr<VideoDecoder>> open(const VideoContainer& container,
                                                    const MediaLimits& limits);

  enum class Step : std::uint8_t { kFrame, kNeedsPacket, kEnd };

  // Forgets everything: the next packet is a key packet.
  void restart();
  // REQUIRES: receive() said kNeedsPacket. `skippable`: the frame may be left undecoded when no other needs
  // it. False: the packet could not be decoded.
  bool send(const VideoPacket& packet, bool skippable);
  // Whether data was refused since the decoder was opened: frames may be missing.
  [[nodiscard]] bool failed() const { return failed_; }
  // Whether a packet without a frame is a loss.
  [[nodiscard]] bool shows_every_packet() const { return shows_every_packet_; }
  // No more packets: receive() gives the frames still held, then kEnd.
  void drain();
  // `time_us`: when the frame is shown.
  Step receive(AVFrame& frame, std::int64_t& time_us);

  // Whether a key frame's time is told apart by its packet alone.
  [[nodiscard]] bool tells_key_time() const { return !decode_order_times_ || !one_behind_; }
  // The most frames that precede another in the stream and follow it on the screen.
  [[nodiscard]] int reorder_depth() const { return reorder_depth_; }
  [[nodiscard]] bool decode_order_times() const { return decode_order_times_; }

 private:
  VideoDecoder(const VideoContainer& container, CodecPtr context);

  CodecPtr context_;
  bool failed_ = false;
  const AVRational time_base_;
  const bool decode_order_times_;
  const bool one_behind_;
  const bool shows_every_packet_;
  bool can_skip_ = false;
  int reorder_depth_ = 0;
  bool drained_ = false;
  // Times of packets whose frames have not come, the earliest first: see VideoContainer::decode_order_times.
  std::priority_queue<std::int64_t, std::vector<std::int64_t>, std::greater<>> waiting_us_;
  std::int64_t sent_us_ = 0, before_us_ = 0;  // times of the last packet, and of the one before it
  std::int64_t last_us_ = 0;
};

}  // namespace floodgate
