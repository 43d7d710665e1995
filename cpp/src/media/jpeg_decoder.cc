// JPEG through libjpeg-turbo's classic interface, with Pillow's strictness: warnings are tolerated, and data
// that ends before the last row is an error, while a missing end marker is not.

#include <csetjmp>
#include <cstddef>
#include <string>
#include <utility>

#include "decoder.h"
#include "header.h"
#include "libjpeg.h"
#include "pixels.h"

namespace floodgate {
namespace {

// A picture of a few bytes can demand any number of passes over all its pixels; honest files need about ten.
constexpr int kMaxScans = 100;
constexpr std::uint64_t kWorkingBytes = 64ULL
                                        << 20;  // the library's row buffers and tables, beyond coefficients

// libjpeg knows no return codes: an error must not return, so it jumps back into JpegReader::run. Nothing
// between the jump and its target may own anything.
class JpegReader {
 public:
  explicit JpegReader(std::span<const std::uint8_t> data) {
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
      if (reader.jpeg_.input_scan_number > kMaxScans) {
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
      reader.jpeg_.mem->max_memory_to_use = static_cast<long>(kMaxCoefficientBytes + kWorkingBytes);
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

  // Decodes every row. `four`: one row of CMYK, 4 * width bytes, or null for a picture that is not CMYK.
  bool read_rows(Picture& picture, std::uint8_t* four) {
    rgb_ = picture.rgb.get();
    four_ = four;
    const bool done = run([](JpegReader& reader) {
      jpeg_decompress_struct& jpeg = reader.jpeg_;
      jpeg.out_color_space = reader.four_ != nullptr ? JCS_CMYK : JCS_RGB;
      jpeg_start_decompress(&jpeg);
      const std::size_t row_bytes = std::size_t{3} * jpeg.output_width;
      while (jpeg.output_scanline < jpeg.output_height) {
        std::uint8_t* const rgb = reader.rgb_ + row_bytes * jpeg.output_scanline;
        JSAMPROW row = reader.four_ != nullptr ? reader.four_ : rgb;
        jpeg_read_scanlines(&jpeg, &row, 1);
        if (reader.four_ != nullptr) cmyk_to_rgb(reader.four_, rgb, jpeg.output_width);
      }
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
      return {Code::kUnsupported, "the JPEG picture has more than " + std::to_string(kMaxScans) +
                                      " scans, which no honest encoder writes"};
    }
    switch (jpeg_.err->msg_code) {
      case JERR_OUT_OF_MEMORY:
      case JERR_NO_BACKING_STORE:
        return {Code::kTooLarge, "decoding the JPEG picture needs more than " +
                                     std::to_string((kMaxCoefficientBytes + kWorkingBytes) >> 20) +
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

  jpeg_decompress_struct jpeg_{};
  jpeg_error_mgr errors_{};
  jpeg_source_mgr source_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf return_point_;
  std::uint8_t* rgb_ = nullptr;
  std::uint8_t* four_ = nullptr;
  bool truncated_ = false;
  bool too_many_scans_ = false;
  bool complete_ = false;
};

bool agrees(const jpeg_decompress_struct& header, const MediaInfo& info) {
  return header.image_width == info.width && header.image_height == info.height &&
         header.num_components == info.channels && header.data_precision == info.bits &&
         (header.progressive_mode != 0) == info.progressive;
}

}  // namespace

Result<Picture> decode_jpeg(std::span<const std::uint8_t> data, const MediaInfo& info) {
  JpegReader reader(data);
  if (!reader.read_header()) return reader.failure();
  if (!agrees(reader.header(), info)) return header_mismatch(info.format);
  if (Status status = check_coefficient_bytes(reader.coefficient_bytes()); !status.ok()) return status;

  auto picture = allocate_picture(info.width, info.height);
  if (!picture.ok()) return picture;
  Bytes four;
  if (info.channels == 4) {
    auto row = allocate_bytes(std::size_t{4} * info.width);
    if (!row.ok()) return row.status();
    four = std::move(row).value();
  }
  if (!reader.read_rows(picture.value(), four.get())) return reader.failure();
  return picture;
}

}  // namespace floodgate
