// The frame of a video that is shown at a time, decoding as little as finding it takes.
//
// Decoding begins at the key frame before the time and goes on to the frame; frames before it that no other
// needs are left out, and a key frame's own time decodes the key frame alone. Where the next time lies in the
// same group of pictures, decoding goes on from where it was. A key frame that turns out not to be one (its
// index lies, or its data is damaged) is passed over for an earlier one. Thread rule: one finder, one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "floodgate/sequence.h"
#include "libav.h"
#include "video_container.h"
#include "video_decoder.h"
#include "video_index.h"

namespace floodgate {

// A time after all others: the last frame.
inline constexpr std::int64_t kLastFrame = INT64_MAX;

class FrameFinder {
 public:
  // REQUIRES: all three outlive it; index.keys is not empty.
  FrameFinder(VideoContainer& container, VideoDecoder& decoder, const VideoIndex& index);

  // The key point that decoding towards `time_us` begins at.
  [[nodiscard]] std::size_t key_before(std::int64_t time_us) const;

  // Finds the frame shown at `time_us`, or, where nothing at or before it can be decoded, the first after it.
  // `key_alone`: the time is that of a key point: its frame, whatever its exact time. `then_us`: the time
  // that will be asked for next; kLastFrame when none will. False: there is no frame.
  bool find(std::int64_t time_us, bool key_alone, std::int64_t then_us);

  // What find() found.
  [[nodiscard]] const AVFrame& frame() const { return *found_; }
  [[nodiscard]] std::int64_t time_us() const { return found_us_; }
  // Whether frames were met whose times go back, or not met where their packets were.
  [[nodiscard]] bool out_of_order() const { return out_of_order_; }
  // Whether find() gave the frame before the one that is shown at the time, which the decoder did not give.
  [[nodiscard]] bool missed() const { return missed_; }
  // How many packets were decoded, for tests and measurements.
  [[nodiscard]] std::uint64_t packets_decoded() const { return packets_decoded_; }

 private:
  struct Goal {
    std::int64_t time_us = 0;        // the time asked for
    std::int64_t best_us = kNoTime;  // the latest packet seen that is shown at or before it
    int later = 0;                   // packets seen that are shown after it
    bool best_sent = false;
    bool settled = false;  // no better one will come
    bool goes_on = false;  // decoding will go on from here
  };

  bool start(std::size_t key);
  void aim(std::int64_t time_us, bool goes_on);
  void run();
  void feed();
  void look_ahead();
  void consider(std::int64_t time_us);
  bool step_back(std::size_t key, std::int64_t time_us);
  bool take_later();
  [[nodiscard]] bool lacks_best(std::int64_t best_us) const;
  void find_again(std::size_t key, std::int64_t time_us);
  [[nodiscard]] bool is_half_at_end() const;

  VideoContainer& container_;
  VideoDecoder& decoder_;
  std::vector<KeyPoint> keys_;
  const bool may_be_cut_;

  bool running_ = false;             // the decoder can go on
  std::size_t run_key_ = 0;          // from where it began
  std::int64_t floor_us_ = kNoTime;  // frames shown before it lack what they refer to
  bool at_end_ = false;              // the container has no more packets
  std::deque<VideoPacket> queue_;
  std::vector<std::int64_t> sent_later_us_;  // sent, shown after the goal
  Goal goal_;

  FramePtr found_, later_, spare_, kept_;
  bool has_found_ = false, has_later_ = false;
  std::int64_t found_us_ = 0, later_us_ = 0;
  std::uint64_t packets_decoded_ = 0;
  bool out_of_order_ = false;
  bool missed_ = false;
  bool half_left_out_ = false;
  int tries_ = 0;  // at finding again what was missed
};

}  // namespace floodgate
