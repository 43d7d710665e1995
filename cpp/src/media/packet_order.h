// Whether the times of packets can be those of their frames, told without decoding.
//
// Frames leave a decoder in the order in which they are shown. Where the codec's headers tell that order
// (H.264 and HEVC by picture order counts, MPEG-1, -2 and -4 by picture types, others by having no other than
// that of the packets), packets whose times disagree were given them by a broken muxer, or to hide frames.
// Thread rule: one order, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "libav.h"

namespace floodgate {

// Where the time line of a container that tells only when frames are shown goes back: to before any frame
// that reordering could still give.
class TimeLine {
 public:
  static constexpr std::int64_t kNone = INT64_MIN;

  // `reorder_depth`: how many frames at most precede another in the file and follow it on the screen.
  explicit TimeLine(int reorder_depth) : depth_(static_cast<std::size_t>(reorder_depth)) {}
  // What follows is read from a key packet on; `before`: the latest time before it, kNone when it is not
  // known.
  void restart(std::int64_t before = kNone);
  // The latest time before the last key packet.
  [[nodiscard]] std::int64_t before_key() const { return before_key_; }
  // By how much the packet at `time` has to be moved on for it not to go back; 0 for most. Moves the time
  // line on to where it then is. `step` > 0: the least distance from the latest packet.
  std::int64_t move(std::int64_t time, bool key, std::int64_t step);

 private:
  std::size_t depth_;
  std::int64_t before_key_ = kNone;
  std::vector<std::int64_t> latest_;  // times of the latest packets since the last key packet, ascending
};

class PacketOrder {
 public:
  // `one_each`: the container's clock is so fine that no two frames share a time, but to hide all but one.
  PacketOrder(const AVStream& stream, bool one_each);

  // REQUIRES: packets come as stored; after a seek, from a key packet on. `shown`: it counts.
  void see(const AVPacket& packet, std::int64_t time_us, bool shown);
  // Whether times and order have disagreed.
  [[nodiscard]] bool disagrees() const { return disagrees_; }

 private:
  struct FreeParser {
    void operator()(AVCodecParserContext* parser) const { av_parser_close(parser); }
  };
  enum class Rule : std::uint8_t { kAscends, kCount, kType, kUnknown };
  static Rule rule_of(AVCodecID id);

  const Rule rule_;
  const bool one_each_;
  std::unique_ptr<AVCodecParserContext, FreeParser> parser_;
  CodecPtr context_;
  std::uint64_t parsed_ = 0;
  bool any_ = false;
  int count_ = 0;             // the greatest since the last key packet
  std::int64_t time_us_ = 0;  // the latest
  bool disagrees_ = false;
};

// The most frames that precede another in the stream and follow it on the screen.
int reorder_depth_of(AVCodecID id);

}  // namespace floodgate
