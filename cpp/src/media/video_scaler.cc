#include "video_scaler.h"

#include <optional>

namespace floodgate {
namespace {

// Samples of more than a byte take the scaler's general way, which can be told where colours lie. (What it
// has for bytes is faster, cannot be told, and is what players show.)
bool is_deep(const AVPixFmtDescriptor& format) { return format.comp[0].depth > 8; }

// On that way, where colours have half the rows, it takes the nearest row or the mean of two. A third tap,
// the smallest that it keeps, makes it weigh rows by their distance.
bool needs_vertical_filter(const AVPixFmtDescriptor& format) {
  return is_deep(format) && format.log2_chroma_h > 0;
}
constexpr double kLeastTap = 0.003;

// Where the first colour sample lies, in 256ths of a pixel from the first pixel.
struct ChromaPosition {
  int x = 0, y = 0;
};

std::optional<ChromaPosition> chroma_position(int location) {
  switch (location) {
    case AVCHROMA_LOC_LEFT:
      return ChromaPosition{0, 128};
    case AVCHROMA_LOC_CENTER:
      return ChromaPosition{128, 128};
    case AVCHROMA_LOC_TOPLEFT:
      return ChromaPosition{0, 0};
    case AVCHROMA_LOC_TOP:
      return ChromaPosition{128, 0};
    case AVCHROMA_LOC_BOTTOMLEFT:
      return ChromaPosition{0, 256};
    case AVCHROMA_LOC_BOTTOM:
      return ChromaPosition{128, 256};
    default:
      return std::nullopt;
  }
}

}  // namespace

ScalerPtr make_scaler(const ScalerSettings& wanted) {
  const AVPixFmtDescriptor* const format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(wanted.from));
  ScalerPtr scaler(sws_alloc_context());
  if (!scaler || format == nullptr) return nullptr;
  const auto set = [&](const char* name, int value) { av_opt_set_int(scaler.get(), name, value, 0); };
  set("srcw", wanted.width);
  set("srch", wanted.height);
  set("src_format", wanted.from);
  set("dstw", wanted.width);
  set("dsth", wanted.height);
  set("dst_format", wanted.to);
  set("sws_flags", SWS_BILINEAR);
  if (const auto position = chroma_position(wanted.chroma); position && is_deep(*format)) {
    if (format->log2_chroma_w > 0) set("src_h_chr_pos", position->x);
    if (format->log2_chroma_h > 0) set("src_v_chr_pos", position->y);
  }
  double taps[3] = {kLeastTap, 1 - 2 * kLeastTap, kLeastTap};
  SwsVector vertical = {taps, 3};
  SwsFilter filter = {nullptr, nullptr, nullptr, &vertical};
  SwsFilter* const used = needs_vertical_filter(*format) ? &filter : nullptr;
  if (sws_init_context(scaler.get(), used, nullptr) < 0) return nullptr;
  return scaler;
}

}  // namespace floodgate
