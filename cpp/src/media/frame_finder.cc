#include "frame_finder.h"

#include <algorithm>
#include <utility>

namespace floodgate {
namespace {

// Packets held to see what comes: twice the deepest reordering.
constexpr std::size_t kLookAhead = 40;
constexpr std::size_t kMaxSentLater = 256;
// Decoding again from farther back, for one frame, and for all of a video.
constexpr int kMaxTriesAFrame = 2;
constexpr int kMaxTries = 32;

}  // namespace

FrameFinder::FrameFinder(VideoContainer& container, VideoDecoder& decoder, const VideoIndex& index)
    : container_(container),
      decoder_(decoder),
      keys_(index.keys),
      may_be_cut_((index.notes & kNoteTruncated) != 0 || container.format() == Format::kMpegTs),
      found_(av_frame_alloc()),
      later_(av_frame_alloc()),
      spare_(av_frame_alloc()),
      kept_(av_frame_alloc()) {}

std::size_t FrameFinder::key_before(std::int64_t time_us) const {
  const auto after = std::ranges::upper_bound(keys_, time_us, {}, &KeyPoint::time_us);
  return after == keys_.begin() ? 0 : static_cast<std::size_t>(after - keys_.begin()) - 1;
}

bool FrameFinder::find(std::int64_t time_us, bool key_alone, std::int64_t then_us) {
  missed_ = half_left_out_ = false;
  if (!found_ || !later_ || !spare_ || !kept_) return false;
  container_.renew_budget();
  std::size_t key = key_before(time_us);
  const auto goes_on = [&] { return then_us != kLastFrame && key_before(then_us) == key; };

  if (running_ && key == run_key_ && has_found_ && found_us_ <= time_us) {
    aim(time_us, goes_on());
    run();
    find_again(key, time_us);
    return has_found_;
  }
  if (!start(key)) return false;
  if (!queue_.empty()) {
    const std::int64_t begins_us = queue_.front().time_us;
    if (key_alone && !keys_[key].exact && keys_[key].time_us == time_us) {
      time_us = begins_us;
    } else if (begins_us > time_us && key > 0) {
      // The index estimates times, and this group begins later than it thought.
      if (!start(--key)) return false;
    }
  }
  aim(time_us, goes_on());
  run();
  if (has_found_) {
    find_again(key, time_us);
    return true;
  }
  if (step_back(key, time_us)) {
    missed_ = lacks_best(goal_.best_us);
    return true;
  }
  missed_ = key > 0 && !decoder_.decode_order_times();
  return take_later();
}

// An interlaced frame may come in two packets, of which the second gives none.
bool FrameFinder::lacks_best(std::int64_t best_us) const {
  return has_found_ && !decoder_.decode_order_times() && found_us_ < best_us && !found_->interlaced_frame;
}

// H.264's decoder, begun at a key frame that others precede on the screen, drops the next few frames when it
// is drained before it has given the key frame: from an earlier key it gives them.
void FrameFinder::find_again(std::size_t key, std::int64_t time_us) {
  const std::int64_t best_us = goal_.best_us;
  missed_ = lacks_best(best_us);
  if (!missed_ || !decoder_.shows_every_packet() || half_left_out_) return;
  for (int tried = 0; missed_ && key > 0 && tried < kMaxTriesAFrame && tries_ < kMaxTries; ++tried) {
    ++tries_;
    std::swap(found_, kept_);
    const std::int64_t kept_us = found_us_;
    key -= std::min<std::size_t>(key, tried == 0 ? 1 : 4);
    if (start(key)) {
      aim(time_us, false);
      run();
    }
    if (!has_found_ || found_us_ < kept_us) {
      std::swap(found_, kept_);
      found_us_ = kept_us;
      has_found_ = true;
      running_ = false;
    }
    missed_ = lacks_best(best_us);
  }
}

// Tries earlier key points, ever farther back, and forgets those that proved useless.
bool FrameFinder::step_back(std::size_t key, std::int64_t time_us) {
  for (std::size_t step = 1, from = key; from > 0; step *= 4) {
    from -= std::min(step, from);
    if (!start(from)) return false;
    floor_us_ = kNoTime;
    aim(time_us, true);
    run();
    if (has_found_) {
      keys_.erase(keys_.begin() + static_cast<std::ptrdiff_t>(from) + 1,
                  keys_.begin() + static_cast<std::ptrdiff_t>(key) + 1);
      return true;
    }
  }
  return false;
}

bool FrameFinder::take_later() {
  if (!has_later_) return false;
  std::swap(found_, later_);
  found_us_ = later_us_;
  has_found_ = true;
  has_later_ = false;
  return true;
}

bool FrameFinder::start(std::size_t key) {
  decoder_.restart();
  queue_.clear();
  sent_later_us_.clear();
  has_found_ = has_later_ = at_end_ = false;
  running_ = container_.seek(keys_[key]);
  if (!running_) return false;
  run_key_ = key;
  VideoPacket packet;
  if (container_.read(packet)) {
    floor_us_ = packet.time_us;
    queue_.push_back(std::move(packet));
  } else {
    at_end_ = true;
  }
  return true;
}

void FrameFinder::aim(std::int64_t time_us, bool goes_on) {
  goal_ = {};
  goal_.time_us = time_us;
  goal_.goes_on = goes_on;
  if (has_found_) {
    goal_.best_us = found_us_;
    goal_.best_sent = true;
  }
  for (const std::int64_t sent : sent_later_us_) {
    consider(sent);
    if (goal_.best_us == sent) goal_.best_sent = true;
  }
  // What was sent and is no later than the goal cannot be a later one's.
  std::erase_if(sent_later_us_, [&](std::int64_t sent) { return sent <= time_us; });
  for (const VideoPacket& packet : queue_) {
    if (packet.shown) consider(packet.time_us);
  }
  if (at_end_) goal_.settled = true;
}

void FrameFinder::consider(std::int64_t time_us) {
  if (time_us <= goal_.time_us) {
    if (time_us > goal_.best_us) {
      goal_.best_us = time_us;
      goal_.best_sent = false;
    }
    if (time_us == goal_.time_us) goal_.settled = true;
  } else if (++goal_.later > decoder_.reorder_depth()) {
    goal_.settled = true;
  }
}

// REQUIRES: start() or an earlier run; aim().
void FrameFinder::run() {
  while (true) {
    if (has_later_) {
      if (later_us_ > goal_.time_us) return;
      take_later();
    }
    if (has_found_ && goal_.settled && found_us_ == goal_.best_us) return;
    std::int64_t time_us = 0;
    switch (decoder_.receive(*spare_, time_us)) {
      case VideoDecoder::Step::kFrame:
        if (has_found_ && time_us < found_us_ && time_us >= floor_us_) out_of_order_ = true;
        if (is_half_at_end()) half_left_out_ = true;
        if (time_us < floor_us_ || (has_found_ && time_us < found_us_) || is_half_at_end()) {
          av_frame_unref(spare_.get());
          break;
        }
        av_frame_unref(later_.get());
        std::swap(spare_, later_);
        later_us_ = time_us;
        has_later_ = true;
        break;
      case VideoDecoder::Step::kNeedsPacket:
        feed();
        break;
      case VideoDecoder::Step::kEnd:
        running_ = false;
        return;
    }
  }
}

// Half a frame at the end of what was cut off is worth less than the whole one before it. Shown last it need
// not be: bidirectional frames come after what they refer to.
bool FrameFinder::is_half_at_end() const {
  if (!may_be_cut_ || spare_->decode_error_flags == 0) return false;
  const bool last = at_end_ && queue_.empty() && (has_found_ || has_later_);
  return last || goal_.time_us == kLastFrame;
}

void FrameFinder::look_ahead() {
  VideoPacket packet;
  while (!at_end_ && !goal_.settled && queue_.size() < kLookAhead) {
    if (!container_.read(packet)) {
      at_end_ = true;
      break;
    }
    if (packet.shown) consider(packet.time_us);
    queue_.push_back(std::move(packet));
  }
  if (at_end_) goal_.settled = true;
}

void FrameFinder::feed() {
  look_ahead();
  if (queue_.empty() && !at_end_) {
    VideoPacket packet;
    if (container_.read(packet)) {
      if (packet.shown) consider(packet.time_us);
      queue_.push_back(std::move(packet));
    } else {
      at_end_ = true;
    }
  }
  // Where times are those of decoding, the frame of the best packet is not told from its neighbours until all
  // before it on the screen have come; but a key frame at the start of its group is.
  const bool told =
      !decoder_.decode_order_times() || (decoder_.tells_key_time() && goal_.best_us == floor_us_);
  if (queue_.empty() || (goal_.settled && goal_.best_sent && told && !goal_.goes_on)) {
    decoder_.drain();
    running_ = false;
    return;
  }
  const VideoPacket packet = std::move(queue_.front());
  queue_.pop_front();
  // A packet that was cut off gives half a frame: only where it is all there is.
  if (!packet.whole && (has_found_ || has_later_) && queue_.empty() && at_end_) {
    half_left_out_ = true;
    return;
  }
  const bool skippable = packet.shown && packet.time_us < goal_.best_us;
  ++packets_decoded_;
  decoder_.send(packet, skippable);
  if (packet.time_us == goal_.best_us) goal_.best_sent = true;
  if (packet.time_us > goal_.time_us && sent_later_us_.size() < kMaxSentLater) {
    sent_later_us_.push_back(packet.time_us);
  }
}

}  // namespace floodgate
