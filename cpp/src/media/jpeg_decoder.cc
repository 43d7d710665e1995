// JPEG through libjpeg-turbo's classic interface, with Pillow's strictness: warnings are tolerated, and data
// that ends before the last row is an error, while a missing end marker is not. Rows go to the sink as they
// come: of a single-scan picture never more than a strip is held, of any other its coefficients.

#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "decoder.h"
#include "header.h"
#include "libjpeg.h"
#include "pixels.h"

namespace floodgate {
namespace {

// A strip and what the sink makes of it stay in the second-level cache. Short strips cost more than they
// save: each time the sink's wide vectors set in after a while of libjpeg's code, processors take some
// microseconds.
constexpr std::size_t kStripBytes = 512U << 10;
constexpr std::uint32_t kMinStripRows = 8;
constexpr std::uint32_t kMaxStripRows = 64;
// libjpeg-turbo writes rows past the cache when they are aligned to 16 or 32 bytes, and they would come back
// from main memory a moment later. So rows are 32 bytes apart and begin 8 bytes off.
constexpr std::size_t kVectorBytes = 32;
constexpr std::size_t kOffVectorBytes = 8;
// Upsampling chroma at an edge knows nothing of what lies beyond it: so far inside a crop its pixels are
// those of the whole picture. Where the library smooths a progressive picture's blocks, two more blocks are.
constexpr std::uint32_t kCropMargin = 4;
constexpr std::uint32_t kSmoothedBlocks = 2;
constexpr std::uint64_t kWorkingBytes = 64ULL
                                        << 20;  // the library's row buffers and tables, beyond coefficients

// libjpeg knows no return codes: an error must not return, so it jumps back into JpegReader::run. Nothing
// between the jump and its target may own anything.
class JpegReader {
 public:
  JpegReader(std::span<const std::uint8_t> data, const MediaLimits& limits) : limits_(limits) {
    jpeg_.err = jpeg_std_error(&errors_);
    jpeg_.client_data = this;
    errors_.error_exit = [](j_common_ptr jpeg) { std::longjmp(self(jpeg).return_point_, 1); };
    errors_.output_message = [](j_common_ptr) {};
    source_.next_input_byte = data.data();
    source_.bytes_in_buffer = data.size();
    source_.init_source = [](j_decompress_ptr) {};
    source_.term_source = [](j_decompress_ptr) {};
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.fill_input_buffer = [](j_decompress_ptr jpeg) -> boolean {
      self(reinterpret_cast<j_common_ptr>(jpeg)).stop_truncated();
    };
    source_.skip_input_data = [](j_decompress_ptr jpeg, long bytes) {
      if (bytes <= 0) return;
      jpeg_source_mgr& source = *jpeg->src;
      if (static_cast<std::size_t>(bytes) > source.bytes_in_buffer) {
        self(reinterpret_cast<j_common_ptr>(jpeg)).stop_truncated();
      }
      source.next_input_byte += bytes;
      source.bytes_in_buffer -= static_cast<std::size_t>(bytes);
    };
    progress_.progress_monitor = [](j_common_ptr jpeg) {
      JpegReader& reader = self(jpeg);
      // A picture of a few bytes can demand any number of passes over all its pixels.
      if (static_cast<std::uint32_t>(reader.jpeg_.input_scan_number) > reader.limits_.max_scans) {
        reader.too_many_scans_ = true;
        std::longjmp(reader.return_point_, 1);
      }
    };
  }
  ~JpegReader() { jpeg_destroy_decompress(&jpeg_); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  // False when the library gave up; see failure().
  bool read_header() {
    return run([](JpegReader& reader) {
      jpeg_create_decompress(&reader.jpeg_);
      reader.jpeg_.client_data = &reader;  // creation clears it
      reader.jpeg_.src = &reader.source_;
      reader.jpeg_.progress = &reader.progress_;
      reader.jpeg_.mem->max_memory_to_use =
          static_cast<long>(reader.limits_.max_coefficient_bytes + kWorkingBytes);
      jpeg_read_header(&reader.jpeg_, TRUE);
    });
  }

  [[nodiscard]] const jpeg_decompress_struct& header() const { return jpeg_; }

  // Bytes of the coefficient arrays that a multi-scan picture needs; 0 for a single-scan one.
  [[nodiscard]] std::uint64_t coefficient_bytes() {
    if (!jpeg_has_multiple_scans(&jpeg_)) return 0;
    std::uint64_t blocks = 0;
    for (int i = 0; i < jpeg_.num_components; ++i) {
      const jpeg_component_info& component = jpeg_.comp_info[i];
      blocks += std::uint64_t{component.width_in_blocks} * component.height_in_blocks;
    }
    return blocks * 64 * 2;
  }

  // Decides on colours and scale: afterwards header() tells the size of the rows.
  bool set_output(std::uint32_t scale_denominator) {
    jpeg_.out_color_space = jpeg_.num_components == 4 ? JCS_CMYK : JCS_RGB;
    jpeg_.scale_num = 1;
    jpeg_.scale_denom = scale_denominator;
    return run([](JpegReader& reader) { jpeg_calc_output_dimensions(&reader.jpeg_); });
  }

  // Bytes from one row of a strip to the next.
  [[nodiscard]] std::size_t stride() const {
    return (std::size_t{3} * jpeg_.output_width + kVectorBytes - 1) / kVectorBytes * kVectorBytes;
  }

  [[nodiscard]] std::uint32_t strip_rows() const {
    const auto rows = static_cast<std::uint32_t>(kStripBytes / stride() / kMinStripRows * kMinStripRows);
    return std::min(std::clamp(rows, kMinStripRows, kMaxStripRows), jpeg_.output_height);
  }

  // Bytes of a strip, wherever its first row may have to begin.
  [[nodiscard]] std::size_t strip_bytes() const { return stride() * strip_rows() + 2 * kVectorBytes; }

  // Decodes what `sink` looks at and hands it every row. `strip`: strip_bytes() bytes. `four`: one row of
  // CMYK, or null for a picture that is not CMYK.
  bool read_rows(RowSink& sink, std::uint8_t* strip, std::uint8_t* four) {
    sink_ = &sink;
    strip_ = strip;
    four_ = four;
    const Roi roi = sink.roi();
    // Of the whole picture, which a crop makes narrower.
    stride_ = stride();
    strip_rows_ = strip_rows();
    right_ = jpeg_.output_width;
    bottom_ = jpeg_.output_height;
    if (croppable()) {
      left_ = std::min(roi.left, right_ - 1);
      right_ = std::clamp(roi.right, left_ + 1, right_);
      top_ = std::min(roi.top, bottom_ - 1);
      // Up to a row of blocks: if it began within one, skipping would give rows again that were given before.
      const auto blocks = static_cast<std::uint32_t>(jpeg_.max_v_samp_factor * jpeg_.min_DCT_scaled_size);
      const std::uint32_t end = std::clamp(roi.bottom, top_ + 1, bottom_);
      bottom_ = std::min((end + blocks - 1) / blocks * blocks, bottom_);
    }
    const bool done = run([](JpegReader& reader) {
      jpeg_decompress_struct& jpeg = reader.jpeg_;
      jpeg_start_decompress(&jpeg);
      reader.crop();
      reader.skip_to(reader.top_);
      while (jpeg.output_scanline < reader.bottom_) reader.read_strip(reader.bottom_);
      // The last row is read all the same: only then the library has seen all the data.
      reader.skip_to(jpeg.output_height - 1);
      while (jpeg.output_scanline < jpeg.output_height) reader.read_strip(jpeg.output_height);
      reader.complete_ = true;
      jpeg_finish_decompress(&jpeg);
    });
    // Like Pillow: once every row is there, what is missing behind them does not matter.
    return done || (complete_ && truncated_);
  }

  [[nodiscard]] Status failure() {
    if (truncated_)
      return {Code::kInvalidContent, "the JPEG picture is truncated: its data ends before its last row"};
    if (too_many_scans_) {
      return {Code::kTooLarge, "the JPEG picture has more than " + std::to_string(limits_.max_scans) +
                                   " scans, the limit (max_scans); honest encoders write about ten"};
    }
    switch (jpeg_.err->msg_code) {
      case JERR_OUT_OF_MEMORY:
      case JERR_NO_BACKING_STORE:
        return {Code::kTooLarge, "decoding the JPEG picture needs more than " +
                                     std::to_string((limits_.max_coefficient_bytes + kWorkingBytes) >> 20) +
                                     " MiB of memory"};
      case JERR_CONVERSION_NOTIMPL:
      case JERR_ARITH_NOTIMPL:
      case JERR_SOF_UNSUPPORTED:
        return {Code::kUnsupported, "the JPEG picture is not supported: " + library_message()};
      default:
        return {Code::kInvalidContent, "the JPEG picture is corrupt: " + library_message()};
    }
  }

 private:
  static JpegReader& self(j_common_ptr jpeg) { return *static_cast<JpegReader*>(jpeg->client_data); }

  [[noreturn]] void stop_truncated() {
    truncated_ = true;
    std::longjmp(return_point_, 1);
  }

  // Whether the library makes the same pixels of a crop: of rare samplings it does not at every scale.
  [[nodiscard]] bool croppable() const {
    const std::span components(jpeg_.comp_info, static_cast<std::size_t>(jpeg_.num_components));
    return jpeg_.max_h_samp_factor <= 2 && jpeg_.max_v_samp_factor <= 2 &&
           std::ranges::all_of(components, [this](const jpeg_component_info& component) {
             return (component.h_samp_factor == 1 && component.v_samp_factor == 1) ||
                    (component.h_samp_factor == jpeg_.max_h_samp_factor &&
                     component.v_samp_factor == jpeg_.max_v_samp_factor);
           });
  }

  // What follows owns nothing: the library may jump out.

  // Has the library make no columns but those looked at, as far as its blocks allow.
  void crop() {
    std::uint32_t margin = kCropMargin;
    if (jpeg_.progressive_mode != 0) {
      margin += kSmoothedBlocks * static_cast<std::uint32_t>(jpeg_.max_h_samp_factor) * DCTSIZE;
    }
    JDIMENSION left = left_ - std::min(left_, margin);
    JDIMENSION width = std::min(jpeg_.output_width - left, right_ - left + margin);
    jpeg_crop_scanline(&jpeg_, &left, &width);
    cropped_ = std::size_t{3} * left;
    // The first pixel that is made lies off a vector's beginning.
    const auto past_vector = (reinterpret_cast<std::uintptr_t>(strip_) + cropped_) % kVectorBytes;
    rgb_ = strip_ + (kVectorBytes + kOffVectorBytes - past_vector) % kVectorBytes;
  }

  // Passes over the rows before `row`: those that the sink gets for them may hold anything.
  void skip_to(std::uint32_t row) {
    std::uint32_t from = jpeg_.output_scanline;
    if (from >= row) return;
    jpeg_skip_scanlines(&jpeg_, row - from);
    while (from < row) {
      const std::uint32_t count = std::min(row - from, strip_rows_);
      sink_->rows(from, count, rgb_, stride_);
      from += count;
    }
  }

  // Reads up to strip_rows() rows that come before `bottom`, and hands them on.
  void read_strip(std::uint32_t bottom) {
    const std::uint32_t first = jpeg_.output_scanline;
    const std::uint32_t end = std::min(first + strip_rows_, bottom);
    std::uint8_t* const rgb = rgb_ + cropped_;
    while (jpeg_.output_scanline < end) {
      const std::uint32_t at = jpeg_.output_scanline - first;
      if (four_ != nullptr) {
        JSAMPROW row = four_;
        if (jpeg_read_scanlines(&jpeg_, &row, 1) == 1) {
          cmyk_to_rgb(four_, rgb + stride_ * at, jpeg_.output_width);
        }
        continue;
      }
      // The library makes a few rows at a time.
      constexpr std::uint32_t kMost = 8;
      const std::uint32_t wanted = std::min(kMost, end - jpeg_.output_scanline);
      JSAMPROW rows[kMost];
      for (std::uint32_t i = 0; i < wanted; ++i) rows[i] = rgb + stride_ * (at + i);
      jpeg_read_scanlines(&jpeg_, rows, wanted);
    }
    sink_->rows(first, end - first, rgb_, stride_);
  }

  // Runs one library step; false when it jumped out. REQUIRES: `step` owns nothing.
  bool run(void (*step)(JpegReader&)) {
    if (setjmp(return_point_) != 0) return false;
    step(*this);
    return true;
  }

  std::string library_message() {
    char text[JMSG_LENGTH_MAX] = {};
    jpeg_.err->format_message(reinterpret_cast<j_common_ptr>(&jpeg_), text);
    return text;
  }

  const MediaLimits& limits_;
  jpeg_decompress_struct jpeg_{};
  jpeg_error_mgr errors_{};
  jpeg_source_mgr source_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf return_point_;
  RowSink* sink_ = nullptr;
  std::uint8_t* strip_ = nullptr;
  std::uint8_t* rgb_ = nullptr;  // the strip's first row
  std::uint8_t* four_ = nullptr;
  std::size_t stride_ = 0;
  std::uint32_t strip_rows_ = 0;
  std::size_t cropped_ = 0;                                    // bytes of a row before the first that is made
  std::uint32_t left_ = 0, right_ = 0, top_ = 0, bottom_ = 0;  // what is looked at
  bool truncated_ = false;
  bool too_many_scans_ = false;
  bool complete_ = false;
};

bool agrees(const jpeg_decompress_struct& header, const MediaInfo& info) {
  return header.image_width == info.width && header.image_height == info.height &&
         header.num_components == info.channels && header.data_precision == info.bits &&
         (header.progressive_mode != 0) == info.progressive;
}

// The denominator of Pillow's draft((min, min)): the largest scale that leaves both sides min px.
std::uint32_t scale_denominator(const MediaInfo& info, std::uint32_t decode_min) {
  if (decode_min == 0) return 1;
  const std::uint32_t scale = std::min(info.width / decode_min, info.height / decode_min);
  for (const std::uint32_t denominator : {8U, 4U, 2U}) {
    if (scale >= denominator) return denominator;
  }
  return 1;
}

}  // namespace

Status decode_jpeg(Encoded data, const MediaInfo& info, const MediaLimits& limits,
                   const DecodeOptions& options, RowSink& sink) {
  JpegReader reader(data, limits);
  if (!reader.read_header()) return reader.failure();
  if (!agrees(reader.header(), info)) return header_mismatch(info.format);
  if (Status status = check_coefficients(reader.coefficient_bytes(), limits); !status.ok()) return status;
  if (!reader.set_output(scale_denominator(info, options.decode_min))) return reader.failure();

  const std::uint32_t width = reader.header().output_width;
  const std::uint32_t height = reader.header().output_height;
  auto strip = allocate_bytes(reader.strip_bytes());
  if (!strip.ok()) return strip.status();
  Bytes four;
  if (info.channels == 4) {
    auto row = allocate_bytes(std::size_t{4} * width);
    if (!row.ok()) return row.status();
    four = std::move(row).value();
  }
  if (Status begun = sink.begin({width, height, info.orientation}); !begun.ok()) return begun;
  if (!reader.read_rows(sink, strip.value().get(), four.get())) return reader.failure();
  return {};
}

}  // namespace floodgate
