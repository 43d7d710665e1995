// Media and views for Python: value types, the probe, and the reference door to one rendered view.
#include "floodgate/media.h"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "floodgate/codecs.h"
#include "floodgate/view.h"
#include "status.h"

namespace py = pybind11;

namespace floodgate {
namespace {

template <typename Enum>
struct Word {
  const char* word;
  Enum value;
};

constexpr std::array kModes = {Word<ResizeMode>{"stretch", ResizeMode::kStretch},
                               Word<ResizeMode>{"contain", ResizeMode::kContain},
                               Word<ResizeMode>{"cover", ResizeMode::kCover}};
constexpr std::array kFilters = {Word<Filter>{"bilinear", Filter::kBilinear},
                                 Word<Filter>{"bicubic", Filter::kBicubic},
                                 Word<Filter>{"lanczos", Filter::kLanczos}, Word<Filter>{"box", Filter::kBox},
                                 Word<Filter>{"hamming", Filter::kHamming}};
constexpr std::array kAnchors = {Word<PadAnchor>{"center", PadAnchor::kCenter},
                                 Word<PadAnchor>{"top_left", PadAnchor::kTopLeft}};
constexpr std::array kColors = {Word<ColorOrder>{"rgb", ColorOrder::kRgb},
                                Word<ColorOrder>{"bgr", ColorOrder::kBgr}};
constexpr std::array kLayouts = {Word<Layout>{"nhwc", Layout::kNhwc}, Word<Layout>{"nchw", Layout::kNchw}};

// The value that `word` stands for; raises InvalidRequest naming the member and its choices.
template <typename Enum, std::size_t N>
Enum parse(const char* member, const std::array<Word<Enum>, N>& words, std::string_view word) {
  std::string choices;
  for (const auto& [name, value] : words) {
    if (word == name) return value;
    if (!choices.empty()) choices += ", ";
    choices += name;
  }
  raise_status({Code::kInvalidArgument, std::string("view.") + member + " is \"" + std::string(word) +
                                            "\"; it must be one of " + choices});
}

template <typename Enum, std::size_t N>
const char* spell(const std::array<Word<Enum>, N>& words, Enum wanted) {
  for (const auto& [name, value] : words) {
    if (value == wanted) return name;
  }
  return "";
}

ImageView make_image_view(std::int32_t width, std::int32_t height, const std::string& mode,
                          const std::string& filter, std::int32_t crop_width, std::int32_t crop_height,
                          const std::string& pad_anchor, const std::tuple<int, int, int>& pad_color,
                          const std::string& color, const std::string& layout) {
  ImageView view;
  view.width = width;
  view.height = height;
  view.mode = parse("mode", kModes, mode);
  view.filter = parse("filter", kFilters, filter);
  view.crop_width = crop_width;
  view.crop_height = crop_height;
  view.pad_anchor = parse("pad_anchor", kAnchors, pad_anchor);
  const std::array<int, 3> channels = {std::get<0>(pad_color), std::get<1>(pad_color),
                                       std::get<2>(pad_color)};
  for (std::size_t i = 0; i < 3; ++i) {
    if (channels[i] < 0 || channels[i] > 255) {
      raise_status({Code::kInvalidArgument, "view.pad_color has " + std::to_string(channels[i]) +
                                                "; a channel must be between 0 and 255"});
    }
    view.pad_color[i] = static_cast<std::uint8_t>(channels[i]);
  }
  view.color = parse("color", kColors, color);
  view.layout = parse("layout", kLayouts, layout);
  raise_if_error(validate(view));
  return view;
}

TextView make_text_view(std::vector<std::int32_t> buckets) {
  TextView view{std::move(buckets)};
  raise_if_error(validate(view));
  return view;
}

// The bytes of a Python bytes object, which never change and live as long as the argument that holds them.
std::span<const std::uint8_t> bytes_of(const py::bytes& data) {
  const std::string_view view = data;
  return {reinterpret_cast<const std::uint8_t*>(view.data()), view.size()};
}

py::bytes render(const py::bytes& data, const ImageView& view, const MediaLimits& limits) {
  const auto encoded = bytes_of(data);
  const auto size = static_cast<Py_ssize_t>(view.row_bytes());
  auto out = py::reinterpret_steal<py::bytes>(PyBytes_FromStringAndSize(nullptr, size));
  if (!out) throw py::error_already_set();
  const std::span<std::uint8_t> pixels(reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(out.ptr())),
                                       static_cast<std::size_t>(size));
  Status status;
  {
    // Safe: the input is immutable and held by the caller's frame, the output is not visible to anyone yet.
    const py::gil_scoped_release release;
    status = [&]() -> Status {
      const auto info = probe(encoded, limits);
      if (!info.ok()) return info.status();
      const auto picture = decode(encoded, info.value(), limits);
      if (!picture.ok()) return picture.status();
      return render_view(picture.value(), view, pixels);
    }();
  }
  raise_if_error(status);
  return out;
}

void bind_views(py::module_& m) {
  const ImageView defaults;
  py::class_<ImageView>(m, "ImageView",
                        "A picture's tensor: resize, then crop or pad, then order and layout; uint8.")
      .def(py::init(&make_image_view), py::arg("width"), py::arg("height"), py::arg("mode") = "stretch",
           py::arg("filter") = "bilinear", py::arg("crop_width") = 0, py::arg("crop_height") = 0,
           py::arg("pad_anchor") = "center", py::arg("pad_color") = std::make_tuple(0, 0, 0),
           py::arg("color") = "rgb", py::arg("layout") = "nhwc")
      .def_readonly("width", &ImageView::width)
      .def_readonly("height", &ImageView::height)
      .def_property_readonly("mode", [](const ImageView& view) { return spell(kModes, view.mode); })
      .def_property_readonly("filter", [](const ImageView& view) { return spell(kFilters, view.filter); })
      .def_readonly("crop_width", &ImageView::crop_width)
      .def_readonly("crop_height", &ImageView::crop_height)
      .def_property_readonly("pad_anchor",
                             [](const ImageView& view) { return spell(kAnchors, view.pad_anchor); })
      .def_property_readonly("pad_color",
                             [](const ImageView& view) {
                               return std::make_tuple(view.pad_color[0], view.pad_color[1],
                                                      view.pad_color[2]);
                             })
      .def_property_readonly("color", [](const ImageView& view) { return spell(kColors, view.color); })
      .def_property_readonly("layout", [](const ImageView& view) { return spell(kLayouts, view.layout); })
      .def_property_readonly("out_width", &ImageView::out_width)
      .def_property_readonly("out_height", &ImageView::out_height)
      .def_property_readonly("row_bytes", &ImageView::row_bytes)
      .def(
          "__eq__", [](const ImageView& view, const ImageView& other) { return view == other; },
          py::is_operator())
      .def("__repr__", [](const ImageView& view) {
        return "ImageView(" + std::to_string(view.width) + ", " + std::to_string(view.height) + ", mode='" +
               spell(kModes, view.mode) + "', filter='" + spell(kFilters, view.filter) +
               "', crop_width=" + std::to_string(view.crop_width) +
               ", crop_height=" + std::to_string(view.crop_height) + ", pad_anchor='" +
               spell(kAnchors, view.pad_anchor) + "', pad_color=(" + std::to_string(view.pad_color[0]) +
               ", " + std::to_string(view.pad_color[1]) + ", " + std::to_string(view.pad_color[2]) +
               "), color='" + spell(kColors, view.color) + "', layout='" + spell(kLayouts, view.layout) +
               "')";
      });

  py::class_<TextView>(m, "TextView",
                       "A text's tensor: rows of UTF-8 bytes, padded to the smallest bucket that fits.")
      .def(py::init(&make_text_view), py::arg("buckets"))
      .def_property_readonly("buckets",
                             [](const TextView& view) { return py::tuple(py::cast(view.buckets)); })
      .def_property_readonly("max_bytes", &TextView::max_bytes)
      .def(
          "__eq__", [](const TextView& view, const TextView& other) { return view == other; },
          py::is_operator())
      .def("__repr__", [](const TextView& view) {
        return "TextView(" + py::repr(py::tuple(py::cast(view.buckets))).cast<std::string>() + ")";
      });
}

void bind_probe(py::module_& m) {
  const MediaLimits defaults;
  py::class_<MediaLimits>(m, "MediaLimits", "What is refused before it is decoded.")
      .def(py::init([](std::uint64_t max_bytes, std::uint64_t max_pixels, std::uint32_t max_side_px) {
             return MediaLimits{max_bytes, max_pixels, max_side_px};
           }),
           py::arg("max_bytes") = defaults.max_bytes, py::arg("max_pixels") = defaults.max_pixels,
           py::arg("max_side_px") = defaults.max_side_px)
      .def_readonly("max_bytes", &MediaLimits::max_bytes)
      .def_readonly("max_pixels", &MediaLimits::max_pixels)
      .def_readonly("max_side_px", &MediaLimits::max_side_px);

  py::class_<MediaInfo>(m, "MediaInfo", "What probe() read from a picture's header.")
      .def_property_readonly("format", [](const MediaInfo& info) { return format_name(info.format); })
      .def_readonly("width", &MediaInfo::width)
      .def_readonly("height", &MediaInfo::height)
      .def_readonly("orientation", &MediaInfo::orientation)
      .def_readonly("bits", &MediaInfo::bits)
      .def_readonly("channels", &MediaInfo::channels)
      .def_readonly("has_alpha", &MediaInfo::has_alpha)
      .def_readonly("progressive", &MediaInfo::progressive)
      .def_readonly("frames", &MediaInfo::frames)
      .def_readonly("decode_cost_ns", &MediaInfo::decode_cost_ns)
      .def("__repr__", [](const MediaInfo& info) {
        return std::string("MediaInfo(format='") + format_name(info.format) +
               "', width=" + std::to_string(info.width) + ", height=" + std::to_string(info.height) +
               ", orientation=" + std::to_string(info.orientation) +
               ", channels=" + std::to_string(info.channels) + ", bits=" + std::to_string(info.bits) +
               ", frames=" + std::to_string(info.frames) + ")";
      });

  // Reads at most 64 KB and takes microseconds, so it keeps the GIL.
  m.def(
      "probe",
      [](const py::bytes& data, const MediaLimits& limits) {
        return value_or_raise(probe(bytes_of(data), limits));
      },
      py::arg("data"), py::arg("limits") = defaults,
      "Read a picture's header. Raises InvalidContent, UnsupportedContent or ContentTooLarge.");
  m.def("render_view", &render, py::arg("data"), py::arg("view"), py::arg("limits") = defaults,
        "Decode a picture and render one view: exactly the row of uint8 pixels that a head sees.");
}

}  // namespace

void bind_media(py::module_& m) {
  bind_views(m);
  bind_probe(m);
  m.def(
      "codecs",
      [] {
        py::dict versions;
        for (const auto& [library, version] : codec_versions()) versions[py::str(library)] = version;
        return versions;
      },
      "Versions of the codec libraries in use, by library.");
}

}  // namespace floodgate
