// Names for what people send that is no format of ours. Bytes decide, never a file name.
#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>

#include "header.h"

namespace floodgate {
namespace {

using namespace std::string_view_literals;

// What a refusal tells people to send instead.
constexpr std::string_view kSupported =
    "JPEG, PNG, WebP, GIF, BMP, AVIF or HEIC, or a video as MP4, WebM, MKV, MPEG-TS, AVI or FLV"sv;

struct Signature {
  std::size_t at;
  std::string_view bytes;
  std::string_view what;  // plural, as it begins the sentence "… are not supported"
};

constexpr std::array kSignatures = {
    Signature{0, "II*\0"sv, "TIFF pictures"sv},
    Signature{0, "MM\0*"sv, "TIFF pictures"sv},
    Signature{0, "II+\0"sv, "TIFF pictures"sv},
    Signature{0, "MM\0+"sv, "TIFF pictures"sv},
    Signature{0, "\0\0\1\0"sv, "ICO icons"sv},
    Signature{0, "\0\0\2\0"sv, "CUR cursors"sv},
    Signature{0, "\xFF\x0A"sv, "JPEG XL pictures"sv},
    Signature{0, "\0\0\0\x0CJXL \r\n\x87\n"sv, "JPEG XL pictures"sv},
    Signature{0, "\0\0\0\x0CjP  \r\n\x87\n"sv, "JPEG 2000 pictures"sv},
    Signature{0, "\xFF\x4F\xFF\x51"sv, "JPEG 2000 pictures"sv},
    Signature{0, "8BPS"sv, "Photoshop documents"sv},
    Signature{0, "qoif"sv, "QOI pictures"sv},
    Signature{0, "DDS "sv, "DDS textures"sv},
    Signature{0, "icns"sv, "ICNS icons"sv},
    Signature{0, "\x8AMNG\r\n\x1A\n"sv, "MNG animations"sv},
    Signature{0, "\x8BJNG\r\n\x1A\n"sv, "JNG pictures"sv},
    Signature{0, "%PDF-"sv, "PDF documents"sv},
    Signature{0, "%!PS"sv, "PostScript documents"sv},
    Signature{8, "WAVE"sv, "WAV sounds"sv},
    Signature{0, "\0\0\1\xBA"sv, "MPEG videos"sv},
    Signature{0, "\0\0\1\xB3"sv, "MPEG videos"sv},
    Signature{0, "OggS"sv, "Ogg files"sv},
    Signature{0, "ID3"sv, "MP3 sounds"sv},
    Signature{0, "fLaC"sv, "FLAC sounds"sv},
    Signature{0, "PK\3\4"sv, "ZIP archives and office documents"sv},
    Signature{0, "PK\5\6"sv, "ZIP archives and office documents"sv},
    Signature{0, "Rar!\x1A\7"sv, "RAR archives"sv},
    Signature{0, "7z\xBC\xAF\x27\x1C"sv, "7-Zip archives"sv},
    Signature{0, "\x1F\x8B"sv, "gzip archives"sv},
    Signature{0, "\x28\xB5\x2F\xFD"sv, "Zstandard archives"sv},
    Signature{0, "BZh"sv, "bzip2 archives"sv},
    Signature{0,
              "\xFD"
              "7zXZ\0"sv,
              "XZ archives"sv},
    Signature{0,
              "\x7F"
              "ELF"sv,
              "programs"sv},
    Signature{0, "{\\rtf"sv, "RTF documents"sv},
};

bool has(std::string_view head, std::size_t at, std::string_view bytes) {
  return head.size() >= at && head.substr(at).starts_with(bytes);
}

// Whether `head` is UTF-8 without control characters. A sequence cut off by the end counts as whole.
bool looks_like_text(std::string_view head) {
  std::size_t continuation = 0;
  for (const char c : head) {
    const auto byte = static_cast<unsigned char>(c);
    if (continuation > 0) {
      if ((byte & 0xC0) != 0x80) return false;
      --continuation;
    } else if (byte >= 0x80) {
      if (byte < 0xC2 || byte > 0xF4) return false;
      continuation = byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : 3;
    } else if (byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r' && byte != '\f') {
      return false;
    }
  }
  return true;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

// What a text is, from its beginning.
std::string_view kind_of_text(std::string_view head) {
  if (head.starts_with("\xEF\xBB\xBF"sv)) head.remove_prefix(3);
  const std::size_t begin = head.find_first_not_of(" \t\r\n\f");
  const std::string start = lower(begin == std::string_view::npos ? ""sv : head.substr(begin));
  if (start.find("<svg") != std::string::npos) return "SVG pictures"sv;
  if (start.starts_with("<!doctype html") || start.starts_with("<html")) return "HTML pages"sv;
  if (start.starts_with("<?xml")) return "XML documents"sv;
  if (start.starts_with("data:image")) return "data URLs"sv;
  return {};
}

Status refuse(std::string_view what) {
  return {Code::kUnsupported, std::string(what) + " are not supported; send " + std::string(kSupported)};
}

}  // namespace

Status describe_unsupported(std::span<const std::uint8_t> data) {
  constexpr std::size_t kSniffBytes = 1024;
  const std::string_view head(reinterpret_cast<const char*>(data.data()), std::min(data.size(), kSniffBytes));
  for (const auto& [at, bytes, what] : kSignatures) {
    if (has(head, at, bytes)) return refuse(what);
  }
  if (has(head, 4, "ftypM4A "sv)) return refuse("M4A sounds"sv);
  if (looks_like_text(head)) {
    if (const auto what = kind_of_text(head); !what.empty()) return refuse(what);
    return {Code::kUnsupported, "the data is text, not a picture; send " + std::string(kSupported)};
  }
  return {Code::kInvalidContent, "the data is not a picture or video of a known format"};
}

}  // namespace floodgate
