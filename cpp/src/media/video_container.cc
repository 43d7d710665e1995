#include "video_container.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <new>
#include <string>
#include <tuple>
#include <utility>

#include "floodgate/codecs.h"
#include "video_header.h"

namespace floodgate {
namespace {

constexpr std::int64_t kProbeDataBytes = 1 << 20;
constexpr int kMaxEarlyPackets = 2'000;
constexpr int kMaxReadErrors = 64;
// Searches for a key frame through all of a file. Demuxers' own find those of sane files.
constexpr int kMaxSearches = 64;
constexpr std::int64_t kMaxTime = std::int64_t{1} << 60;
// A clock that goes back by more than a second or on by more than ten was set anew.
constexpr std::int64_t kJumpBackUs = -1'000'000;
constexpr std::int64_t kJumpOnUs = 10'000'000;

// Decoders for what people post. FFmpeg knows hundreds more, which nobody has looked at for years.
constexpr std::array kCodecs = {
    AV_CODEC_ID_H264,       AV_CODEC_ID_HEVC,      AV_CODEC_ID_VP8,       AV_CODEC_ID_VP9,
    AV_CODEC_ID_AV1,        AV_CODEC_ID_MPEG4,     AV_CODEC_ID_MJPEG,     AV_CODEC_ID_MPEG1VIDEO,
    AV_CODEC_ID_MPEG2VIDEO, AV_CODEC_ID_H263,      AV_CODEC_ID_H263P,     AV_CODEC_ID_FLV1,
    AV_CODEC_ID_VP6F,       AV_CODEC_ID_MSMPEG4V2, AV_CODEC_ID_MSMPEG4V3, AV_CODEC_ID_PRORES,
    AV_CODEC_ID_DNXHD,      AV_CODEC_ID_DVVIDEO,   AV_CODEC_ID_PNG,       AV_CODEC_ID_RAWVIDEO,
    AV_CODEC_ID_THEORA,     AV_CODEC_ID_VC1,       AV_CODEC_ID_WMV3,      AV_CODEC_ID_FFV1,
};

const AVCodec* find_decoder(AVCodecID id) {
  if (std::ranges::find(kCodecs, id) == kCodecs.end()) return nullptr;
  // FFmpeg's own AV1 decoder needs hardware.
  return id == AV_CODEC_ID_AV1 ? avcodec_find_decoder_by_name("libdav1d") : avcodec_find_decoder(id);
}

const AVInputFormat* find_demuxer(Format format) {
  switch (format) {
    case Format::kMp4:
      return av_find_input_format("mov");
    case Format::kMatroska:
      return av_find_input_format("matroska");
    case Format::kMpegTs:
      return av_find_input_format("mpegts");
    case Format::kAvi:
      return av_find_input_format("avi");
    case Format::kFlv:
      return av_find_input_format("flv");
    default:
      return nullptr;
  }
}

// Whatever a file refers to, nothing is opened.
int open_nothing(AVFormatContext* /*context*/, AVIOContext** /*io*/, const char* /*url*/, int /*flags*/,
                 AVDictionary** /*options*/) {
  return AVERROR(EPERM);
}

bool is_video_stream(const AVStream& stream) {
  return stream.codecpar->codec_type == AVMEDIA_TYPE_VIDEO &&
         (stream.disposition & (AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_STILL_IMAGE)) == 0;
}

}  // namespace

std::vector<std::string> video_codecs() {
  std::vector<std::string> names;
  for (const AVCodecID id : kCodecs) {
    if (find_decoder(id) != nullptr) names.emplace_back(avcodec_get_name(id));
  }
  return names;
}

VideoContainer::VideoContainer(std::unique_ptr<MemoryInput> input, Format format, const VideoExtent& extent)
    : input_(std::move(input)), format_(format), extent_(extent) {}

Result<std::unique_ptr<VideoContainer>> VideoContainer::open(std::span<const std::uint8_t> data,
                                                             Format format) {
  static std::once_flag quiet;
  std::call_once(quiet, [] { av_log_set_level(AV_LOG_QUIET); });
  const VideoExtent extent = video_extent(data, format);
  auto input = MemoryInput::make(data.first(static_cast<std::size_t>(extent.bytes)));
  if (!input.ok()) return input.status();
  std::unique_ptr<VideoContainer> container(new (std::nothrow)
                                                VideoContainer(std::move(input).value(), format, extent));
  if (!container) return Status(Code::kOverloaded, "there is no memory for reading the video");
  if (Status started = container->start(); !started.ok()) return started;
  return container;
}

Status VideoContainer::start() {
  context_.reset();
  early_.clear();
  stream_ = nullptr;
  skipping_ = false;
  jump_ = 0;
  previous_dts_ = previous_time_ = kNoTime;
  time_line_.restart();
  const AVInputFormat* const demuxer = find_demuxer(format_);
  if (demuxer == nullptr) return {Code::kUnsupported, "the video's container is not supported"};
  if (avio_seek(input_->context(), 0, SEEK_SET) != 0) return {Code::kInternal, "the data cannot be rewound"};
  AVFormatContext* context = avformat_alloc_context();
  if (context == nullptr) return {Code::kOverloaded, "there is no memory for reading the video"};
  context->pb = input_->context();
  context->flags |= AVFMT_FLAG_CUSTOM_IO;
  context->io_open = open_nothing;
  context->protocol_whitelist = av_strdup("none");
  context->probesize = kProbeDataBytes;
  context->format_probesize = 1 << 16;
  context->max_streams = kMaxStreams;
  context->max_analyze_duration = AV_TIME_BASE;
  const int opened = avformat_open_input(&context, nullptr, demuxer, nullptr);  // frees it when it fails
  if (opened < 0) {
    if (opened == AVERROR(ENOMEM)) return {Code::kOverloaded, "there is no memory for reading the video"};
    if (!extent_.has_index) {
      return {Code::kInvalidContent,
              extent_.cut_short ? "the video ends before its index (the movie box), which says how to "
                                  "read it"
                                : "the video has no index (no movie box), which says how to read it"};
    }
    return {Code::kInvalidContent, std::string("the ") + format_name(format_) + " container is damaged"};
  }
  context_.reset(context);
  return choose_stream();
}

Status VideoContainer::choose_stream() {
  AVFormatContext& context = *context_;
  const auto seen = [&] {
    for (unsigned i = 0; i < context.nb_streams; ++i) {
      if (is_video_stream(*context.streams[i]) && context.streams[i]->codecpar->codec_id != AV_CODEC_ID_NONE)
        return true;
    }
    return false;
  };
  // FLV and transport streams show their streams as they come.
  while ((context.ctx_flags & AVFMTCTX_NOHEADER) != 0 && !seen() &&
         early_.size() < static_cast<std::size_t>(kMaxEarlyPackets)) {
    PacketPtr packet(av_packet_alloc());
    if (!packet || av_read_frame(context_.get(), packet.get()) < 0) break;
    early_.push_back(std::move(packet));
  }

  const auto rank = [](const AVStream& stream) {
    const std::int64_t pixels = std::int64_t{stream.codecpar->width} * stream.codecpar->height;
    return std::tuple(find_decoder(stream.codecpar->codec_id) != nullptr,
                      (stream.disposition & AV_DISPOSITION_DEFAULT) != 0, pixels);
  };
  int streams = 0;
  for (unsigned i = 0; i < context.nb_streams; ++i) {
    AVStream& stream = *context.streams[i];
    if (!is_video_stream(stream)) continue;
    ++streams;
    if (stream_ == nullptr || rank(stream) > rank(*stream_)) stream_ = &stream;
  }
  if (stream_ == nullptr) return no_video();
  other_streams_ = streams > 1;
  codec_ = find_decoder(stream_->codecpar->codec_id);
  if (codec_ == nullptr) {
    const AVCodecID id = stream_->codecpar->codec_id;
    if (id != AV_CODEC_ID_NONE) {
      return {Code::kUnsupported,
              std::string("the video's codec (") + avcodec_get_name(id) + ") is not supported"};
    }
    return {Code::kUnsupported, "the video's codec is unknown"};
  }
  time_line_ = TimeLine(reorder_depth_of(stream_->codecpar->codec_id));
  for (unsigned i = 0; i < context.nb_streams; ++i) {
    if (context.streams[i] != stream_) context.streams[i]->discard = AVDISCARD_ALL;
  }
  std::erase_if(early_, [&](const PacketPtr& packet) { return packet->stream_index != stream_->index; });
  if (format_ == Format::kAvi) decode_order_times_ = true;
  return {};
}

Status VideoContainer::no_video() const {
  bool sound = false;
  bool cover = false;
  for (unsigned i = 0; i < context_->nb_streams; ++i) {
    const AVMediaType type = context_->streams[i]->codecpar->codec_type;
    sound = sound || type == AVMEDIA_TYPE_AUDIO;
    cover = cover || type == AVMEDIA_TYPE_VIDEO;
  }
  if (sound && cover) {
    return {Code::kUnsupported, "the file has sound and a cover picture but no video"};
  }
  if (sound) return {Code::kUnsupported, "the file has sound but no video"};
  if (cover) return {Code::kUnsupported, "the file has a cover picture but no video"};
  return {Code::kInvalidContent, "the file has no video"};
}

std::int64_t VideoContainer::microseconds(std::int64_t time) const {
  const std::int64_t us = av_rescale_q_rnd(time, stream_->time_base, {1, 1'000'000},
                                           static_cast<AVRounding>(AV_ROUND_NEAR_INF | AV_ROUND_PASS_MINMAX));
  return std::clamp(us, -kMaxTime, kMaxTime);
}

bool VideoContainer::read_raw(AVPacket& packet) {
  if (!early_.empty()) {
    av_packet_move_ref(&packet, early_.front().get());
    early_.pop_front();
    return true;
  }
  for (int errors = 0; errors < kMaxReadErrors;) {
    av_packet_unref(&packet);
    const int result = av_read_frame(context_.get(), &packet);
    if (result == AVERROR_EOF) return false;
    if (result < 0) {
      ++errors;
      continue;
    }
    if (packet.stream_index == stream_->index && packet.size > 0) return true;
  }
  return false;
}

void VideoContainer::join_jump(AVPacket& packet) {
  if (packet.dts == AV_NOPTS_VALUE) return;
  const std::int64_t dts = packet.dts;
  if (previous_dts_ != kNoTime) {
    const std::int64_t step_us = microseconds(dts - previous_dts_);
    if (step_us < kJumpBackUs || step_us > kJumpOnUs) {
      jump_ += previous_dts_ + std::max<std::int64_t>(packet.duration, 1) - dts;
    }
  }
  previous_dts_ = dts;
  packet.dts += jump_;
  if (packet.pts != AV_NOPTS_VALUE) packet.pts += jump_;
}

// Matroska tells only when frames are shown; of the others the order of decoding must not go back.
void VideoContainer::join_set_back(AVPacket& packet) {
  const std::int64_t step = std::max<std::int64_t>(packet.duration, 1);
  const auto near = [](std::int64_t time) { return time > -kMaxTime && time < kMaxTime; };
  const std::int64_t told =
      format_ == Format::kMatroska && packet.pts != AV_NOPTS_VALUE ? packet.pts : packet.dts;
  if (told == AV_NOPTS_VALUE || !near(told) || !near(jump_) || !near(step)) return;
  std::int64_t by = 0;
  if (format_ == Format::kMatroska && packet.pts != AV_NOPTS_VALUE) {
    by = time_line_.move(told + jump_, (packet.flags & AV_PKT_FLAG_KEY) != 0, step);
  } else {
    if (previous_dts_ != kNoTime && told + jump_ < previous_dts_) by = previous_dts_ + step - told - jump_;
    previous_dts_ = told + jump_ + by;
  }
  set_back_ = set_back_ || by != 0;
  jump_ += by;
  if (packet.pts != AV_NOPTS_VALUE) packet.pts += jump_;
  if (packet.dts != AV_NOPTS_VALUE) packet.dts += jump_;
}

VideoContainer::Landing VideoContainer::landing_at(const AVPacket& packet) const {
  if ((packet.flags & AV_PKT_FLAG_KEY) == 0) return Landing::kBefore;
  if (set_back_) return packet.pos < wanted_.pos ? Landing::kBefore : Landing::kThere;
  if (packet.dts == AV_NOPTS_VALUE || wanted_.dts == kNoTime) return Landing::kThere;
  if (packet.dts < wanted_.dts) return Landing::kBefore;
  if (format_ != Format::kMp4 && format_ != Format::kFlv) return Landing::kThere;
  if (packet.dts > wanted_.dts) return Landing::kPast;
  const bool other = packet.pos >= 0 && wanted_.pos >= 0 && packet.pos != wanted_.pos;
  if (other) return from_start_ ? Landing::kBefore : Landing::kPast;
  return Landing::kThere;
}

// Demuxers search by decode times for what is shown at a time, and so land at a later key where frames are
// shown long after they are decoded: then the decode time itself is sought, and at last all is read.
bool VideoContainer::seek_earlier() {
  if (from_start_ || searches_ >= kMaxSearches) return false;
  if (!by_dts_ && wanted_.dts != kNoTime) {
    by_dts_ = true;
    if (av_seek_frame(context_.get(), stream_->index, wanted_.dts, AVSEEK_FLAG_BACKWARD) >= 0) return true;
  }
  ++searches_;
  if (!rewind()) return false;
  skipping_ = from_start_ = true;
  return true;
}

bool VideoContainer::read(VideoPacket& out) {
  PacketPtr packet(av_packet_alloc());
  if (!packet) return false;
  while (stream_ != nullptr) {  // none where going back to the start has failed
    if (!read_raw(*packet)) {
      const bool searched = format_ == Format::kMp4 || format_ == Format::kFlv;
      if (!skipping_ || set_back_ || !searched || !seek_earlier()) return false;
      continue;
    }
    const bool key = (packet->flags & AV_PKT_FLAG_KEY) != 0;
    if (skipping_) {
      const Landing landing = landing_at(*packet);
      if (landing == Landing::kBefore || (landing == Landing::kPast && seek_earlier())) {
        av_packet_unref(packet.get());
        continue;
      }
      if (stream_ == nullptr) return false;
      skipping_ = false;
    }
    // Only there are timestamps of 33 bits, so that the arithmetic cannot overflow.
    if (format_ == Format::kMpegTs) join_jump(*packet);
    if (format_ == Format::kMatroska || format_ == Format::kFlv) join_set_back(*packet);
    if (packet->pts == AV_NOPTS_VALUE && packet->dts != AV_NOPTS_VALUE) decode_order_times_ = true;
    // What FFmpeg makes up as decode times for Matroska is no better than what the file says.
    const bool made_up = format_ == Format::kMatroska;
    if ((decode_order_times_ && !made_up && packet->dts != AV_NOPTS_VALUE) || packet->pts == AV_NOPTS_VALUE) {
      packet->pts = packet->dts;
    }
    const std::int64_t duration_us =
        packet->duration > 0 ? std::min<std::int64_t>(microseconds(packet->duration), kJumpOnUs) : 0;
    if (packet->pts != AV_NOPTS_VALUE) {
      out.time_us = microseconds(packet->pts);
    } else {
      out.time_us = previous_time_ == kNoTime ? 0 : previous_time_ + std::max<std::int64_t>(duration_us, 1);
    }
    previous_time_ = out.time_us;
    out.end_us = out.time_us + duration_us;
    out.key = key;
    out.shown = (packet->flags & AV_PKT_FLAG_DISCARD) == 0;
    out.whole = (packet->flags & AV_PKT_FLAG_CORRUPT) == 0;
    out.packet = std::move(packet);
    return true;
  }
  return false;
}

KeyPoint VideoContainer::key_point(const VideoPacket& packet) const {
  KeyPoint key;
  key.time_us = packet.time_us;
  // Matroska stores no decode times; what FFmpeg makes up for them depends on where it began to read.
  const bool stored = packet.packet->dts != AV_NOPTS_VALUE && format_ != Format::kMatroska;
  key.dts = stored ? packet.packet->dts - jump_ : kNoTime;
  key.jump = jump_;
  key.pos = packet.packet->pos;
  key.before = time_line_.before_key();
  key.shown = packet.shown;
  key.marked = packet.key;
  if (format_ == Format::kMpegTs) {
    key.seek = packet.packet->pos;
  } else {
    key.seek = packet.packet->pts != AV_NOPTS_VALUE ? packet.packet->pts : packet.packet->dts;
  }
  return key;
}

bool VideoContainer::seek(const KeyPoint& key) {
  early_.clear();
  if (stream_ == nullptr && !rewind()) return false;
  const bool by_bytes = format_ == Format::kMpegTs;
  if (!key.marked || key.seek == AV_NOPTS_VALUE || (by_bytes && key.seek < 0)) return rewind();
  if (set_back_) {
    // Times are told more than once: only reading finds the right one.
    if (key.pos < 0 || !rewind()) return rewind();
    wanted_ = key;
    skipping_ = true;
    jump_ = key.jump;
    time_line_.restart(key.before);
    return true;
  }
  const int flags = by_bytes ? AVSEEK_FLAG_BYTE : AVSEEK_FLAG_BACKWARD;
  if (av_seek_frame(context_.get(), stream_->index, key.seek, flags) < 0 && !rewind()) return false;
  wanted_ = key;
  skipping_ = true;
  by_dts_ = from_start_ = false;
  jump_ = key.jump;
  previous_dts_ = previous_time_ = kNoTime;
  time_line_.restart(key.before);
  return true;
}

bool VideoContainer::rewind() { return start().ok(); }

}  // namespace floodgate
