#include "video_decoder.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>

#include "packet_order.h"

namespace floodgate {
namespace {

// A decoder that swallows so many packets without a frame has lost count; their times are no use then.
constexpr std::size_t kMaxWaiting = 64;
// More frames than any decoder holds back.
constexpr int kMaxHeld = 64;
constexpr std::uint64_t kPaddingPixels = 1 << 18;

// Whether frames that FFmpeg calls non-reference are none for any other. HEVC's are so within one temporal
// layer only (ITU-T H.265, 7.4.2.2); the number of layers is in the decoder configuration record (ISO/IEC
// 14496-15, 8.3.3.1).
bool may_skip(const AVCodecContext& context) {
  switch (context.codec_id) {
    case AV_CODEC_ID_H264:
    case AV_CODEC_ID_MPEG4:
    case AV_CODEC_ID_MPEG2VIDEO:
    case AV_CODEC_ID_MPEG1VIDEO:
      return true;
    case AV_CODEC_ID_HEVC:
      return context.extradata_size > 22 && context.extradata[0] == 1 &&
             (context.extradata[21] >> 3 & 7) == 1;
    default:
      return false;
  }
}

// Codecs whose every packet is a frame that is shown, or one of its two fields. Others have packets that show
// nothing, as VP8's alternate references and what MPEG-4 does not code.
bool every_packet_is_shown(AVCodecID id) {
  switch (id) {
    case AV_CODEC_ID_H264:
    case AV_CODEC_ID_HEVC:
    case AV_CODEC_ID_AV1:
    case AV_CODEC_ID_MPEG1VIDEO:
    case AV_CODEC_ID_MPEG2VIDEO:
    case AV_CODEC_ID_MJPEG:
    case AV_CODEC_ID_PRORES:
    case AV_CODEC_ID_DNXHD:
      return true;
    default:
      return false;
  }
}

// What libraries say of data that they refuse differs.
bool is_failure(int result) { return result < 0 && result != AVERROR(EAGAIN) && result != AVERROR_EOF; }

// Decoders that give the frame before while they are given the next one, as all of before H.264 do.
bool one_behind(AVCodecID id) {
  switch (id) {
    case AV_CODEC_ID_MPEG4:
    case AV_CODEC_ID_MPEG2VIDEO:
    case AV_CODEC_ID_MPEG1VIDEO:
    case AV_CODEC_ID_H263P:
    case AV_CODEC_ID_MSMPEG4V2:
    case AV_CODEC_ID_MSMPEG4V3:
    case AV_CODEC_ID_VC1:
    case AV_CODEC_ID_WMV3:
      return true;
    default:
      return false;
  }
}

}  // namespace

VideoDecoder::VideoDecoder(const VideoContainer& container, CodecPtr context)
    : context_(std::move(context)),
      time_base_(container.stream()->time_base),
      decode_order_times_(container.decode_order_times()),
      one_behind_(one_behind(context_->codec_id) && !container.set_back()),
      shows_every_packet_(!decode_order_times_ && every_packet_is_shown(context_->codec_id)),
      can_skip_(!decode_order_times_ && may_skip(*context_)),
      reorder_depth_(reorder_depth_of(context_->codec_id)) {}

Result<std::unique_ptr<VideoDecoder>> VideoDecoder::open(const VideoContainer& container,
                                                         const MediaLimits& limits) {
  CodecPtr context(avcodec_alloc_context3(container.codec()));
  if (!context || avcodec_parameters_to_context(context.get(), container.stream()->codecpar) < 0) {
    return Status(Code::kOverloaded, "there is no memory for decoding the video");
  }
  context->thread_count = 1;
  context->thread_type = 0;
  context->pkt_timebase = container.stream()->time_base;
  // The decoder counts its own padding to whole blocks too; FramePixels::check() has the exact word.
  const std::uint64_t most = std::min<std::uint64_t>(limits.max_pixels, std::uint64_t{1} << 40);
  context->max_pixels = static_cast<std::int64_t>(most + most / 8 + kPaddingPixels);
  context->workaround_bugs = FF_BUG_AUTODETECT;
  // Makes the H.264 decoder hold frames as long as the standard's picture buffer may, where the stream does
  // not say how far it reorders them; it would guess otherwise, and give frames out of order until it has
  // guessed right.
  if (context->codec_id == AV_CODEC_ID_H264) context->strict_std_compliance = FF_COMPLIANCE_STRICT;
  const int opened = avcodec_open2(context.get(), container.codec(), nullptr);
  if (opened == AVERROR(ENOMEM))
    return Status(Code::kOverloaded, "there is no memory for decoding the video");
  if (opened < 0) {
    return Status(Code::kUnsupported, std::string("the video's ") + container.codec()->name +
                                          " data is of a kind that cannot be decoded");
  }
  std::unique_ptr<VideoDecoder> decoder(new (std::nothrow) VideoDecoder(container, std::move(context)));
  if (!decoder) return Status(Code::kOverloaded, "there is no memory for decoding the video");
  return decoder;
}

void VideoDecoder::restart() {
  avcodec_flush_buffers(context_.get());
  context_->skip_frame = AVDISCARD_DEFAULT;
  drained_ = false;
  waiting_us_ = {};
  last_us_ = 0;
}

bool VideoDecoder::send(const VideoPacket& packet, bool skippable) {
  context_->skip_frame = skippable && can_skip_ ? AVDISCARD_NONREF : AVDISCARD_DEFAULT;
  before_us_ = std::exchange(sent_us_, packet.time_us);
  if (decode_order_times_ && !one_behind_ && packet.shown) {
    if (waiting_us_.size() >= kMaxWaiting) waiting_us_.pop();
    waiting_us_.push(packet.time_us);
  }
  const int result = avcodec_send_packet(context_.get(), packet.packet.get());
  failed_ = failed_ || is_failure(result);
  return result >= 0;
}

void VideoDecoder::drain() {
  context_->skip_frame = AVDISCARD_DEFAULT;
  avcodec_send_packet(context_.get(), nullptr);
  drained_ = true;
}

VideoDecoder::Step VideoDecoder::receive(AVFrame& frame, std::int64_t& time_us) {
  int result = avcodec_receive_frame(context_.get(), &frame);
  // A frame that fails while the decoder is drained does not end it: others are held behind it.
  for (int failed = 0; drained_ && result < 0 && result != AVERROR_EOF && failed < kMaxHeld; ++failed) {
    result = avcodec_receive_frame(context_.get(), &frame);
  }
  failed_ = failed_ || is_failure(result);
  if (result < 0) return drained_ || result == AVERROR_EOF ? Step::kEnd : Step::kNeedsPacket;
  const std::int64_t time = frame.pts != AV_NOPTS_VALUE ? frame.pts : frame.best_effort_timestamp;
  if (decode_order_times_ && one_behind_) {
    time_us = context_->has_b_frames == 0 || drained_ ? sent_us_ : before_us_;
  } else if (decode_order_times_ && !waiting_us_.empty()) {
    time_us = waiting_us_.top();
    waiting_us_.pop();
  } else if (!decode_order_times_ && time != AV_NOPTS_VALUE) {
    constexpr std::int64_t kMaxTime = std::int64_t{1} << 60;
    const std::int64_t us = av_rescale_q_rnd(
        time, time_base_, {1, 1'000'000}, static_cast<AVRounding>(AV_ROUND_NEAR_INF | AV_ROUND_PASS_MINMAX));
    time_us = std::clamp(us, -kMaxTime, kMaxTime);
  } else {
    time_us = last_us_ + 1;
  }
  last_us_ = time_us;
  return Step::kFrame;
}

}  // namespace floodgate
