// Small videos made with FFmpeg's own MPEG-4 encoder, in any container, in memory.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "media/libav.h"

namespace floodgate::testing {

struct VideoOptions {
  const char* container = "mp4";
  int frames = 40;
  int fps = 20;
  int gop = 10;
  int bframes = 2;
  int width = 96;
  int height = 64;
  bool still = false;                 // every frame shows the same
  const char* movie_flags = nullptr;  // "frag_keyframe+empty_moov"
};

// The grey that frame `number` is filled with: far from its neighbours'.
inline int grey_of(int number) { return 40 + number * 67 % 180; }

namespace internal {

inline void write_packets(AVCodecContext* encoder, AVFormatContext* out, const AVFrame* frame) {
  avcodec_send_frame(encoder, frame);
  PacketPtr packet(av_packet_alloc());
  while (avcodec_receive_packet(encoder, packet.get()) >= 0) {
    packet->duration = 1;
    av_packet_rescale_ts(packet.get(), encoder->time_base, out->streams[0]->time_base);
    av_interleaved_write_frame(out, packet.get());
  }
}

// A growing file.
struct Written {
  std::vector<std::uint8_t> bytes;
  std::size_t at = 0;

  static int write(void* self, std::uint8_t* from, int count) {
    auto& file = *static_cast<Written*>(self);
    const auto size = static_cast<std::size_t>(count);
    if (file.bytes.size() < file.at + size) file.bytes.resize(file.at + size);
    std::memcpy(file.bytes.data() + file.at, from, size);
    file.at += size;
    return count;
  }
  static std::int64_t seek(void* self, std::int64_t to, int whence) {
    auto& file = *static_cast<Written*>(self);
    if (whence == AVSEEK_SIZE) return static_cast<std::int64_t>(file.bytes.size());
    const std::size_t base = whence == SEEK_CUR ? file.at : whence == SEEK_END ? file.bytes.size() : 0;
    file.at = base + static_cast<std::size_t>(to);
    return static_cast<std::int64_t>(file.at);
  }
};

}  // namespace internal

// Flat grey frames: frame n is filled with grey_of(n), a white bar across it.
inline std::vector<std::uint8_t> video(const VideoOptions& options = {}) {
  av_log_set_level(AV_LOG_QUIET);
  internal::Written file;
  AVFormatContext* out = nullptr;
  avformat_alloc_output_context2(&out, nullptr, options.container, nullptr);
  auto* const buffer = static_cast<unsigned char*>(av_malloc(4096));
  out->pb = avio_alloc_context(buffer, 4096, 1, &file, nullptr, &internal::Written::write,
                               &internal::Written::seek);
  CodecPtr encoder(avcodec_alloc_context3(avcodec_find_encoder(AV_CODEC_ID_MPEG4)));
  encoder->width = options.width;
  encoder->height = options.height;
  encoder->pix_fmt = AV_PIX_FMT_YUV420P;
  encoder->time_base = {1, options.fps};
  encoder->framerate = {options.fps, 1};
  encoder->gop_size = options.gop;
  encoder->max_b_frames = options.bframes;
  encoder->bit_rate = 4'000'000;
  encoder->thread_count = 1;
  if ((out->oformat->flags & AVFMT_GLOBALHEADER) != 0) encoder->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  avcodec_open2(encoder.get(), nullptr, nullptr);
  AVStream* const stream = avformat_new_stream(out, nullptr);
  avcodec_parameters_from_context(stream->codecpar, encoder.get());
  stream->time_base = encoder->time_base;
  AVDictionary* flags = nullptr;
  if (options.movie_flags != nullptr) av_dict_set(&flags, "movflags", options.movie_flags, 0);
  if (avformat_write_header(out, &flags) >= 0) {
    FramePtr frame(av_frame_alloc());
    frame->format = AV_PIX_FMT_YUV420P;
    frame->width = options.width;
    frame->height = options.height;
    av_frame_get_buffer(frame.get(), 0);
    for (int number = 0; number < options.frames; ++number) {
      av_frame_make_writable(frame.get());
      const int grey = grey_of(options.still ? 0 : number);
      for (int y = 0; y < options.height; ++y) {
        std::memset(frame->data[0] + static_cast<std::ptrdiff_t>(y) * frame->linesize[0], y < 8 ? 235 : grey,
                    static_cast<std::size_t>(options.width));
      }
      for (int plane = 1; plane < 3; ++plane) {
        std::memset(frame->data[plane], 128,
                    static_cast<std::size_t>(frame->linesize[plane] * options.height / 2));
      }
      frame->pts = number;
      internal::write_packets(encoder.get(), out, frame.get());
    }
    internal::write_packets(encoder.get(), out, nullptr);
    av_write_trailer(out);
  }
  avio_flush(out->pb);
  av_dict_free(&flags);
  av_freep(&out->pb->buffer);
  avio_context_free(&out->pb);
  avformat_free_context(out);
  return std::move(file.bytes);
}

}  // namespace floodgate::testing
