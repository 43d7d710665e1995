// FFmpeg's headers, and owners for what it allocates.
//
// Thread rule: stateless. Everything here is made and freed by the same FrameSource.
#pragma once

#include <cstdint>
#include <memory>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/mastering_display_metadata.h>
#include <libavutil/opt.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

namespace floodgate {

struct FreeLibav {
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
  void operator()(AVCodecContext* context) const { avcodec_free_context(&context); }
  void operator()(AVFormatContext* context) const { avformat_close_input(&context); }
  void operator()(SwsContext* context) const { sws_freeContext(context); }
};

using PacketPtr = std::unique_ptr<AVPacket, FreeLibav>;
using FramePtr = std::unique_ptr<AVFrame, FreeLibav>;
using CodecPtr = std::unique_ptr<AVCodecContext, FreeLibav>;
using FormatPtr = std::unique_ptr<AVFormatContext, FreeLibav>;
using ScalerPtr = std::unique_ptr<SwsContext, FreeLibav>;

}  // namespace floodgate
