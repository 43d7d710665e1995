// Views: what renders as rows come, on every instruction set that this processor has, against the readable
// reference.
#define HWY_WANT_AVX3_DL  // as view/passes.cc does
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "checked_sink.h"
#include "floodgate/view.h"
#include "view/reference.h"

namespace floodgate {
namespace {

// Reads parameters from the front of the input; zeros once it is used up.
class Parameters {
 public:
  Parameters(const std::uint8_t* data, std::size_t size) : data_(data, size) {}
  std::uint32_t below(std::uint32_t bound) {
    const std::uint32_t high = next();
    return (high << 8 | next()) % bound;
  }
  std::uint8_t next() {
    if (data_.empty()) return 0;
    const std::uint8_t byte = data_.front();
    data_ = data_.subspan(1);
    return byte;
  }
  [[nodiscard]] std::span<const std::uint8_t> rest() const { return data_; }

 private:
  std::span<const std::uint8_t> data_;
};

FrameShape read_shape(Parameters& in) {
  FrameShape shape;
  shape.width = 1 + in.below(90);
  shape.height = 1 + in.below(90);
  shape.orientation = static_cast<std::uint8_t>(in.below(10));
  shape.channels = in.next() % 2 == 0 ? 3 : 4;
  if (in.next() % 4 == 0) {
    shape.par_x = in.below(70);
    shape.par_y = in.below(70);
  }
  return shape;
}

ImageView read_view(Parameters& in) {
  ImageView view;
  view.width = 1 + static_cast<std::int32_t>(in.below(60));
  view.height = 1 + static_cast<std::int32_t>(in.below(60));
  view.mode = static_cast<ResizeMode>(in.below(3));
  view.filter = static_cast<Filter>(in.below(5));
  view.crop_width = static_cast<std::int32_t>(in.below(static_cast<std::uint32_t>(view.width) + 1));
  view.crop_height = static_cast<std::int32_t>(in.below(static_cast<std::uint32_t>(view.height) + 1));
  const std::uint8_t bits = in.next();
  view.pad_anchor = (bits & 1) != 0 ? PadAnchor::kTopLeft : PadAnchor::kCenter;
  view.color = (bits & 2) != 0 ? ColorOrder::kBgr : ColorOrder::kRgb;
  view.layout = (bits & 4) != 0 ? Layout::kNchw : Layout::kNhwc;
  view.ignore_alpha = (bits & 8) != 0;
  view.ignore_orientation = (bits & 16) != 0;
  view.background = {in.next(), in.next(), in.next()};
  view.pad_color = {in.next(), in.next(), in.next()};
  return view;
}

std::vector<std::uint8_t> streamed(const FrameShape& shape, std::span<const std::uint8_t> samples,
                                   const ImageView& view, std::uint32_t strip) {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(view.row_bytes()), 0xAA);
  const RenderTarget target = {&view, out};
  ViewRenderer renderer({&target, 1});
  fuzzing::require(renderer.begin(shape).ok());
  const std::size_t row_bytes = std::size_t{shape.channels} * shape.width;
  for (std::uint32_t y = 0; y < shape.height; y += strip) {
    renderer.rows(y, std::min(strip, shape.height - y), samples.data() + row_bytes * y, row_bytes);
  }
  fuzzing::require(renderer.complete());
  return out;
}

}  // namespace
}  // namespace floodgate

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace floodgate;
  Parameters in(data, size);
  const FrameShape shape = read_shape(in);
  const ImageView view = read_view(in);
  const std::uint32_t strip = 1 + in.below(20);
  if (!validate(view).ok()) return 0;
  // What is left of the input is the picture, over and over, a little changed each time.
  std::vector<std::uint8_t> samples(std::size_t{shape.channels} * shape.width * shape.height);
  const auto rest = in.rest();
  for (std::size_t i = 0; i < samples.size(); ++i) {
    samples[i] = rest.empty() ? static_cast<std::uint8_t>(i * 31)
                              : static_cast<std::uint8_t>(rest[i % rest.size()] ^ (i / rest.size()));
  }
  const auto expected = reference_view(shape, samples, view);
  for (const std::int64_t target : hwy::SupportedAndGeneratedTargets()) {
    hwy::SetSupportedTargetsForTest(target);
    fuzzing::require(streamed(shape, samples, view, strip) == expected);
  }
  hwy::SetSupportedTargetsForTest(0);
  return 0;
}
