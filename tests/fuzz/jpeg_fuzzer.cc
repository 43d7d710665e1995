// Decodes whole, and again only what is looked at: that must be the same pixels, or fail in the same way.
#include "checked_sink.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace floodgate;
  using fuzzing::require;
  const std::span<const std::uint8_t> input(data, size);
  const auto info = probe(input, fuzzing::kSmall);
  if (!info.ok() || info.value().format != Format::kJpeg) return 0;
  const std::uint32_t width = info.value().width;
  const std::uint32_t height = info.value().height;
  const auto drawn = [&](std::size_t at, std::uint32_t most) {
    return data[size - 1 - at % size] * most / 256;
  };
  Roi roi = {drawn(0, width), drawn(1, height), 0, 0};
  roi.right = roi.left + 1 + drawn(2, width);
  roi.bottom = roi.top + 1 + drawn(3, height);
  const DecodeOptions options = {data[size / 2] % 4 == 0 ? 16U : 0U};
  fuzzing::CheckedSink whole(roi, false);
  fuzzing::CheckedSink part(roi);
  const Status status = decode(input, info.value(), fuzzing::kSmall, options, whole);
  const Status again = decode(input, info.value(), fuzzing::kSmall, options, part);
  require(status.code() == again.code() && status.message() == again.message());
  if (!status.ok()) {
    require(!status.message().empty());
    return 0;
  }
  require(whole.complete() && part.complete());
  require(whole.sum() == part.sum());
  return 0;
}
