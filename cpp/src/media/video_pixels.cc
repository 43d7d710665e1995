#include "video_pixels.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <string>

namespace floodgate {
namespace {

constexpr std::uint32_t kStripRows = 16;
// The scaler writes whole vectors, a little past the end of a row.
constexpr std::size_t kRowAlign = 64;

// FFmpeg keeps whatever number a file has in its enumerations, which C++ may not load as such.
template <typename Enum>
int number(const Enum& value) {
  static_assert(sizeof(Enum) == sizeof(int));
  int plain = 0;
  std::memcpy(&plain, &value, sizeof plain);
  return plain;
}

bool is_full_range(const AVFrame& frame) {
  switch (frame.format) {
    case AV_PIX_FMT_YUVJ420P:
    case AV_PIX_FMT_YUVJ422P:
    case AV_PIX_FMT_YUVJ444P:
    case AV_PIX_FMT_YUVJ440P:
    case AV_PIX_FMT_YUVJ411P:
      return true;
    default:
      return number(frame.color_range) == AVCOL_RANGE_JPEG;
  }
}

// The scaler's name of a matrix. It falls back to BT.601 for those that it does not know.
int matrix_of(const AVFrame& frame) {
  switch (number(frame.colorspace)) {
    case AVCOL_SPC_BT709:
      return SWS_CS_ITU709;
    case AVCOL_SPC_FCC:
      return SWS_CS_FCC;
    case AVCOL_SPC_SMPTE240M:
      return SWS_CS_SMPTE240M;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
      return SWS_CS_BT2020;
    default:
      return SWS_CS_ITU601;
  }
}

// Pictures to convert one by one: an interlaced frame whose rows share colours holds two, each with its own.
int fields_of(const AVFrame& frame) {
  const AVPixFmtDescriptor* const format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  const bool shares = format != nullptr && format->log2_chroma_h > 0;
  return frame.interlaced_frame != 0 && shares && frame.height % (2 << format->log2_chroma_h) == 0 ? 2 : 1;
}

// Luma as bytes: how to find it in a frame, if it is there in a simple way.
struct Luma {
  const std::uint8_t* first = nullptr;
  std::ptrdiff_t stride = 0;
  std::size_t step = 0;     // bytes from one pixel to the next
  std::uint32_t shift = 0;  // to the right, to 8 bits
  bool wide = false;        // two bytes a sample, little-endian
};

std::optional<Luma> luma_of(const AVFrame& frame) {
  const AVPixFmtDescriptor* const format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  constexpr std::uint64_t kOther = AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM |
                                   AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_FLOAT | AV_PIX_FMT_FLAG_BE |
                                   AV_PIX_FMT_FLAG_BAYER;
  if (format == nullptr || (format->flags & kOther) != 0) return std::nullopt;
  const AVComponentDescriptor& luma = format->comp[0];
  if (luma.plane != 0 || luma.depth < 8 || luma.depth > 16) return std::nullopt;
  Luma found;
  found.first = frame.data[0] + luma.offset;
  found.stride = frame.linesize[0];
  found.step = static_cast<std::size_t>(luma.step);
  found.wide = luma.depth > 8;
  found.shift = static_cast<std::uint32_t>(luma.shift + luma.depth - 8);
  return found;
}

// Calls add(cell column, sum of its pixels) for each cell of a row; `pixel(x)` gives one of them, 0..255.
template <typename Pixel>
void add_row(std::array<std::uint64_t, kSignatureSide>& sums, std::size_t width, const Pixel& pixel) {
  for (std::size_t cell = 0; cell < kSignatureSide; ++cell) {
    const std::size_t begin = cell * width / kSignatureSide;
    const std::size_t end = std::max(begin + 1, (cell + 1) * width / kSignatureSide);
    std::uint32_t sum = 0;
    for (std::size_t x = begin; x < end; ++x) sum += pixel(x);
    sums[cell] += sum;
  }
}

// Mean of each cell of the grid; `add(sums, y)` adds row y to the cells' sums.
template <typename AddRow>
FrameSignature grid_means(std::size_t width, std::size_t height, const AddRow& add) {
  FrameSignature signature{};
  for (std::size_t row = 0; row < kSignatureSide; ++row) {
    const std::size_t begin = row * height / kSignatureSide;
    const std::size_t end = std::max(begin + 1, (row + 1) * height / kSignatureSide);
    std::array<std::uint64_t, kSignatureSide> sums{};
    for (std::size_t y = begin; y < end; ++y) add(sums, y);
    for (std::size_t cell = 0; cell < kSignatureSide; ++cell) {
      const std::size_t left = cell * width / kSignatureSide;
      const std::size_t right = std::max(left + 1, (cell + 1) * width / kSignatureSide);
      const std::uint64_t count = (right - left) * (end - begin);
      signature[row * kSignatureSide + cell] = static_cast<std::uint8_t>((sums[cell] + count / 2) / count);
    }
  }
  return signature;
}

// The brightest light that metadata promises, cd/m²; 0 when it promises none.
double peak_of(const AVMasteringDisplayMetadata* display, const AVContentLightMetadata* light) {
  if (light != nullptr && light->MaxCLL > 0) return light->MaxCLL;
  if (display != nullptr && display->has_luminance != 0 && display->max_luminance.den != 0) {
    return av_q2d(display->max_luminance);
  }
  return 0;
}

template <typename T>
const T* side_data(const AVFrame& frame, AVFrameSideDataType type) {
  const AVFrameSideData* const data = av_frame_get_side_data(&frame, type);
  return data != nullptr && data->size >= sizeof(T) ? reinterpret_cast<const T*>(data->data) : nullptr;
}

template <typename T>
const T* side_data(const AVStream& stream, AVPacketSideDataType type) {
  std::size_t size = 0;
  const std::uint8_t* const data = av_stream_get_side_data(&stream, type, &size);
  return data != nullptr && size >= sizeof(T) ? reinterpret_cast<const T*>(data) : nullptr;
}

using Matrix = std::int32_t[9];

}  // namespace

std::uint8_t orientation_of(const std::int32_t (&matrix)[9]) {
  // (x, y) is shown at (a x + c y, b x + d y).
  const std::int64_t a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];
  const auto size = [](std::int64_t value) { return std::abs(value); };
  if (size(a) + size(d) >= size(b) + size(c)) {
    if (a >= 0) return d >= 0 ? 1 : 4;
    return d >= 0 ? 2 : 3;
  }
  if (b >= 0) return c >= 0 ? 5 : 6;
  return c >= 0 ? 8 : 7;
}

StreamLook look_of(const AVStream& stream) {
  StreamLook look;
  if (const auto* matrix = side_data<Matrix>(stream, AV_PKT_DATA_DISPLAYMATRIX)) {
    look.orientation = orientation_of(*matrix);
    look.turned = true;
  }
  look.aspect =
      stream.sample_aspect_ratio.num > 0 ? stream.sample_aspect_ratio : stream.codecpar->sample_aspect_ratio;
  look.peak_nits =
      peak_of(side_data<AVMasteringDisplayMetadata>(stream, AV_PKT_DATA_MASTERING_DISPLAY_METADATA),
              side_data<AVContentLightMetadata>(stream, AV_PKT_DATA_CONTENT_LIGHT_LEVEL));
  return look;
}

FrameShape FramePixels::shape(const AVFrame& frame) {
  FrameShape shape;
  shape.width = static_cast<std::uint32_t>(frame.width);
  shape.height = static_cast<std::uint32_t>(frame.height);
  if (!look_.turned) {
    // A codec says it with key frames alone: it holds for those that follow.
    if (const auto* matrix = side_data<Matrix>(frame, AV_FRAME_DATA_DISPLAYMATRIX)) {
      look_.orientation = orientation_of(*matrix);
    }
  }
  shape.orientation = look_.orientation;
  // The container's word goes before the codec's, as in players.
  const AVRational aspect = look_.aspect.num > 0 ? look_.aspect : frame.sample_aspect_ratio;
  int x = 1;
  int y = 1;
  av_reduce(&x, &y, aspect.num, aspect.den, 4096);
  constexpr int kMost = 16;
  const bool sane = aspect.num > 0 && aspect.den > 0 && x > 0 && y > 0 && x <= kMost * y && y <= kMost * x;
  shape.par_x = sane ? static_cast<std::uint32_t>(x) : 1;
  shape.par_y = sane ? static_cast<std::uint32_t>(y) : 1;
  return shape;
}

Status FramePixels::check(const AVFrame& frame, const MediaLimits& limits) {
  if (frame.width <= 0 || frame.height <= 0 || frame.data[0] == nullptr) {
    return {Code::kInvalidContent, "the video's frames have no pixels"};
  }
  const auto longest = static_cast<std::uint32_t>(std::max(frame.width, frame.height));
  if (longest > limits.max_side_px) {
    return {Code::kTooLarge, "the video's longest side is " + std::to_string(longest) +
                                 " px; the limit (max_side_px) is " + std::to_string(limits.max_side_px)};
  }
  const std::uint64_t pixels =
      static_cast<std::uint64_t>(frame.width) * static_cast<std::uint64_t>(frame.height);
  if (pixels > limits.max_pixels) {
    return {Code::kTooLarge, "the video's frames have " + std::to_string(pixels) +
                                 " pixels; the limit (max_pixels) is " + std::to_string(limits.max_pixels)};
  }
  if (sws_isSupportedInput(static_cast<AVPixelFormat>(frame.format)) == 0) {
    return {Code::kUnsupported, "the video's pixel format is not supported"};
  }
  return {};
}

bool FramePixels::is_hdr(const AVFrame& frame) {
  const int transfer = number(frame.color_trc);
  return transfer == AVCOL_TRC_SMPTE2084 || transfer == AVCOL_TRC_ARIB_STD_B67;
}

Status FramePixels::prepare(const AVFrame& frame, AVPixelFormat to) {
  const int fields = fields_of(frame);
  const ScalerSettings wanted = {frame.width,
                                 frame.height / fields,
                                 frame.format,
                                 to,
                                 matrix_of(frame),
                                 is_full_range(frame) ? 1 : 0,
                                 number(frame.chroma_location)};
  const std::size_t pixel_bytes = to == AV_PIX_FMT_RGB48LE ? 6 : 3;
  stride_ = (static_cast<std::size_t>(frame.width) * pixel_bytes + kRowAlign - 1) / kRowAlign * kRowAlign;
  // What is written past a row must not reach the next one, which is the other field's.
  if (fields == 2) stride_ += kRowAlign;
  const std::size_t bytes = stride_ * static_cast<std::size_t>(frame.height) + kRowAlign;
  if (bytes > rgb_bytes_) {
    rgb_bytes_ = 0;
    rgb_.reset();
    auto memory = allocate_bytes(bytes);
    if (!memory.ok()) return memory.status();
    rgb_ = std::move(memory).value();
    rgb_bytes_ = bytes;
  }
  if (scaler_ && settings_ == wanted) return {};
  settings_ = {};
  scaler_ = make_scaler(wanted);
  if (!scaler_) return {Code::kUnsupported, "the video's pixel format cannot be converted"};
  const int* const matrix = sws_getCoefficients(wanted.space);
  constexpr int kOne = 1 << 16;
  sws_setColorspaceDetails(scaler_.get(), matrix, wanted.full_range, matrix, 1, 0, kOne, kOne);
  settings_ = wanted;
  return {};
}

Status FramePixels::scale(const AVFrame& frame, AVPixelFormat to) {
  if (Status prepared = prepare(frame, to); !prepared.ok()) return prepared;
  const int fields = fields_of(frame);
  for (int field = 0; field < fields; ++field) {
    const std::uint8_t* from[4] = {};
    int steps[4] = {};
    for (int i = 0; i < 4; ++i) {
      if (frame.data[i] == nullptr) continue;
      from[i] = frame.data[i] + std::ptrdiff_t{frame.linesize[i]} * field;
      steps[i] = frame.linesize[i] * fields;
    }
    std::uint8_t* const planes[4] = {rgb_.get() + stride_ * static_cast<std::size_t>(field), nullptr, nullptr,
                                     nullptr};
    const int strides[4] = {static_cast<int>(stride_) * fields, 0, 0, 0};
    const int rows = sws_scale(scaler_.get(), from, steps, 0, settings_.height, planes, strides);
    if (rows != settings_.height) return {Code::kUnsupported, "the video's pixel format cannot be converted"};
  }
  return {};
}

Result<FrameSignature> FramePixels::signature(const AVFrame& frame) {
  const auto width = static_cast<std::size_t>(frame.width);
  const auto height = static_cast<std::size_t>(frame.height);
  holds_ = nullptr;
  const auto luma = luma_of(frame);
  if (!luma) {
    if (Status scaled = scale(frame, AV_PIX_FMT_RGB24); !scaled.ok()) return scaled;
    holds_ = &frame;
    return grid_means(width, height, [&](auto& sums, std::size_t y) {
      const std::uint8_t* const row = rgb_.get() + y * stride_;
      add_row(sums, width, [&](std::size_t x) {
        return (77U * row[3 * x] + 150U * row[3 * x + 1] + 29U * row[3 * x + 2] + 128) >> 8;
      });
    });
  }
  FrameSignature signature = grid_means(width, height, [&](auto& sums, std::size_t y) {
    const std::uint8_t* const row = luma->first + static_cast<std::ptrdiff_t>(y) * luma->stride;
    if (luma->wide) {
      add_row(sums, width, [&](std::size_t x) -> std::uint32_t {
        const std::uint8_t* const at = row + x * luma->step;
        return ((at[0] | std::uint32_t{at[1]} << 8) >> luma->shift) & 0xFF;
      });
    } else if (luma->step == 1) {
      add_row(sums, width, [&](std::size_t x) -> std::uint32_t { return row[x]; });
    } else {
      add_row(sums, width, [&](std::size_t x) -> std::uint32_t { return row[x * luma->step]; });
    }
  });
  if (!is_full_range(frame)) {
    for (std::uint8_t& mean : signature) {
      mean = static_cast<std::uint8_t>(std::clamp((int{mean} - 16) * 255 / 219, 0, 255));
    }
  }
  return signature;
}

Status FramePixels::push(const AVFrame& frame, RowSink& sink) {
  const FrameShape shape = this->shape(frame);
  if (!is_hdr(frame)) {
    if (holds_ != &frame) {
      if (Status scaled = scale(frame, AV_PIX_FMT_RGB24); !scaled.ok()) return scaled;
    }
    holds_ = nullptr;
    if (Status begun = sink.begin(shape); !begun.ok()) return begun;
    for (std::uint32_t y = 0; y < shape.height; y += kStripRows) {
      sink.rows(y, std::min(kStripRows, shape.height - y), rgb_.get() + stride_ * y, stride_);
    }
    return {};
  }

  holds_ = nullptr;
  if (Status scaled = scale(frame, AV_PIX_FMT_RGB48LE); !scaled.ok()) return scaled;
  const auto transfer = number(frame.color_trc) == AVCOL_TRC_SMPTE2084 ? HdrTransfer::kPq : HdrTransfer::kHlg;
  double peak =
      peak_of(side_data<AVMasteringDisplayMetadata>(frame, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA),
              side_data<AVContentLightMetadata>(frame, AV_FRAME_DATA_CONTENT_LIGHT_LEVEL));
  if (peak == 0) peak = look_.peak_nits;
  const bool wide = number(frame.color_primaries) != AVCOL_PRI_BT709;
  if (!tone_map_ || !tone_map_->serves(transfer, peak, wide)) {
    tone_map_.reset(new (std::nothrow) ToneMap(transfer, peak, wide));
    if (!tone_map_) return {Code::kOverloaded, "there is no memory for the tone curve"};
  }
  const std::size_t row_bytes = std::size_t{3} * shape.width;
  auto strip = allocate_bytes(row_bytes * kStripRows);
  if (!strip.ok()) return strip.status();
  if (Status begun = sink.begin(shape); !begun.ok()) return begun;
  for (std::uint32_t y = 0; y < shape.height; y += kStripRows) {
    const std::uint32_t count = std::min(kStripRows, shape.height - y);
    for (std::uint32_t row = 0; row < count; ++row) {
      tone_map_->map(reinterpret_cast<const std::uint16_t*>(rgb_.get() + stride_ * (y + row)),
                     strip.value().get() + row_bytes * row, shape.width);
    }
    sink.rows(y, count, strip.value().get(), row_bytes);
  }
  return {};
}

}  // namespace floodgate
