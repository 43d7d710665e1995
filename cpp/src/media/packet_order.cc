#include "packet_order.h"

#include <algorithm>
#include <climits>
#include <cstring>

namespace floodgate {
namespace {

// Headers of so many packets are read; later ones show when they are decoded.
constexpr std::uint64_t kMaxParsed = 200'000;

// Whether an MPEG-4 packet holds two pictures, as encoders for Video for Windows packed reordered ones: their
// own times are nowhere.
bool is_packed(const AVPacket& packet) {
  constexpr std::uint8_t kPicture[] = {0, 0, 1, 0xB6};
  const std::uint8_t* const end = packet.data + packet.size;
  const std::uint8_t* const begin = packet.data;
  const std::uint8_t* const at = std::search(begin, end, std::begin(kPicture), std::end(kPicture));
  return at != end && std::search(at + 4, end, std::begin(kPicture), std::end(kPicture)) != end;
}

}  // namespace

int reorder_depth_of(AVCodecID id) {
  switch (id) {
    case AV_CODEC_ID_H264:
    case AV_CODEC_ID_HEVC:
      return 16;  // the largest picture buffer either standard allows
    case AV_CODEC_ID_MPEG4:
    case AV_CODEC_ID_MPEG2VIDEO:
    case AV_CODEC_ID_MPEG1VIDEO:
    case AV_CODEC_ID_VC1:
    case AV_CODEC_ID_WMV3:
    case AV_CODEC_ID_H263P:
      return 2;
    default:
      return 0;
  }
}

void TimeLine::restart(std::int64_t before) {
  latest_.clear();
  before_key_ = before;
}

std::int64_t TimeLine::move(std::int64_t time, bool key, std::int64_t step) {
  std::int64_t by = 0;
  const std::int64_t latest = latest_.empty() ? before_key_ : latest_.back();
  // A key packet is later than all before it; another later than all before the last key packet, and than all
  // but those that reordering explains.
  const bool back = latest != kNone && (key ? time < latest
                                            : (before_key_ != kNone && time < before_key_) ||
                                                  (latest_.size() > depth_ && time < latest_.front()));
  if (back) {
    by = latest + step - time;
    time += by;
  }
  if (key || back) {
    latest_.clear();
    before_key_ = latest;
  }
  latest_.insert(std::ranges::upper_bound(latest_, time), time);
  if (latest_.size() > depth_ + 1) latest_.erase(latest_.begin());
  return by;
}

PacketOrder::Rule PacketOrder::rule_of(AVCodecID id) {
  switch (id) {
    case AV_CODEC_ID_H264:
    case AV_CODEC_ID_HEVC:
      return Rule::kCount;
    case AV_CODEC_ID_MPEG4:
    case AV_CODEC_ID_MPEG2VIDEO:
    case AV_CODEC_ID_MPEG1VIDEO:
      return Rule::kType;
    default:
      return reorder_depth_of(id) == 0 ? Rule::kAscends : Rule::kUnknown;
  }
}

// VP8 has packets that are not shown, whose times are those of their neighbours.
PacketOrder::PacketOrder(const AVStream& stream, bool one_each)
    : rule_(rule_of(stream.codecpar->codec_id)),
      one_each_(one_each && stream.codecpar->codec_id != AV_CODEC_ID_VP8) {
  if (rule_ != Rule::kCount && rule_ != Rule::kType) return;
  context_.reset(avcodec_alloc_context3(nullptr));
  if (!context_ || avcodec_parameters_to_context(context_.get(), stream.codecpar) < 0) return;
  parser_.reset(av_parser_init(stream.codecpar->codec_id));
  if (parser_) parser_->flags |= PARSER_FLAG_COMPLETE_FRAMES;
}

void PacketOrder::see(const AVPacket& packet, std::int64_t time_us, bool shown) {
  const bool key = (packet.flags & AV_PKT_FLAG_KEY) != 0;
  bool later = true;  // on the screen than all since the last key packet
  int count = 0;
  bool field = false;  // of two that share a time
  if (rule_ == Rule::kUnknown) return;
  if (rule_ != Rule::kAscends) {
    if (!parser_ || parsed_ >= kMaxParsed || disagrees_) return;
    ++parsed_;
    parser_->output_picture_number = INT_MIN;
    parser_->pict_type = AV_PICTURE_TYPE_NONE;
    std::uint8_t* out = nullptr;
    int out_bytes = 0;
    av_parser_parse2(parser_.get(), context_.get(), &out, &out_bytes, packet.data, packet.size, packet.pts,
                     packet.dts, packet.pos);
    count = parser_->output_picture_number;
    const int type = parser_->pict_type;
    if (rule_ == Rule::kCount ? count == INT_MIN : type == AV_PICTURE_TYPE_NONE) return;
    field = parser_->picture_structure == AV_PICTURE_STRUCTURE_TOP_FIELD ||
            parser_->picture_structure == AV_PICTURE_STRUCTURE_BOTTOM_FIELD;
    later = rule_ == Rule::kCount ? count > count_ : type != AV_PICTURE_TYPE_B;
    if (rule_ == Rule::kType && context_->codec_id == AV_CODEC_ID_MPEG4 && is_packed(packet))
      disagrees_ = true;
  }
  if (!shown) return;
  const bool after = time_us > time_us_;
  if (any_ && time_us != time_us_ && after != (later || key)) disagrees_ = true;
  if (any_ && one_each_ && !field && time_us == time_us_ && (later || key)) disagrees_ = true;
  if (!any_ || key || later) count_ = count;
  if (!any_ || after) time_us_ = time_us;
  any_ = true;
}

}  // namespace floodgate
