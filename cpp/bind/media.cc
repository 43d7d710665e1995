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
#include "floodgate/decode.h"
#include "floodgate/job.h"
#include "floodgate/sequence.h"
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

std::array<std::uint8_t, 3> parse_color(const char* member, const std::tuple<int, int, int>& color) {
  const std::array<int, 3> channels = {std::get<0>(color), std::get<1>(color), std::get<2>(color)};
  std::array<std::uint8_t, 3> parsed{};
  for (std::size_t i = 0; i < 3; ++i) {
    if (channels[i] < 0 || channels[i] > 255) {
      raise_status({Code::kInvalidArgument, std::string("view.") + member + " has " +
                                                std::to_string(channels[i]) +
                                                "; a channel must be between 0 and 255"});
    }
    parsed[i] = static_cast<std::uint8_t>(channels[i]);
  }
  return parsed;
}

py::tuple color_tuple(const std::array<std::uint8_t, 3>& color) {
  return py::make_tuple(color[0], color[1], color[2]);
}

std::string color_text(const std::array<std::uint8_t, 3>& color) {
  return "(" + std::to_string(color[0]) + ", " + std::to_string(color[1]) + ", " + std::to_string(color[2]) +
         ")";
}

ImageView make_image_view(std::int32_t width, std::int32_t height, const std::string& mode,
                          const std::string& filter, std::int32_t crop_width, std::int32_t crop_height,
                          const std::string& pad_anchor, const std::tuple<int, int, int>& pad_color,
                          const std::string& color, const std::string& layout,
                          const std::tuple<int, int, int>& background, bool ignore_alpha,
                          bool ignore_orientation) {
  ImageView view;
  view.width = width;
  view.height = height;
  view.mode = parse("mode", kModes, mode);
  view.filter = parse("filter", kFilters, filter);
  view.crop_width = crop_width;
  view.crop_height = crop_height;
  view.pad_anchor = parse("pad_anchor", kAnchors, pad_anchor);
  view.pad_color = parse_color("pad_color", pad_color);
  view.color = parse("color", kColors, color);
  view.layout = parse("layout", kLayouts, layout);
  view.background = parse_color("background", background);
  view.ignore_alpha = ignore_alpha;
  view.ignore_orientation = ignore_orientation;
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

// A bytes object of `size` bytes that nobody sees yet, and where to write them.
std::pair<py::bytes, std::span<std::uint8_t>> new_bytes(std::size_t size) {
  auto out =
      py::reinterpret_steal<py::bytes>(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size)));
  if (!out) throw py::error_already_set();
  return {out, {reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(out.ptr())), size}};
}

py::bytes bytes_from(const Picture& picture) {
  return {reinterpret_cast<const char*>(picture.rgb.get()), picture.bytes()};
}

py::list render_views(const py::bytes& data, const std::vector<ImageView>& views, const MediaLimits& limits,
                      std::uint32_t decode_min) {
  const auto encoded = bytes_of(data);
  py::list rows;
  std::vector<RenderTarget> targets;
  for (const ImageView& view : views) {
    const auto [out, pixels] = new_bytes(static_cast<std::size_t>(view.row_bytes()));
    rows.append(out);
    targets.push_back({&view, pixels});
  }
  Status status;
  {
    // Safe: the input is immutable and held by the caller's frame, the output is not visible to anyone yet.
    const py::gil_scoped_release release;
    status = [&]() -> Status {
      const auto info = probe(encoded, limits);
      if (!info.ok()) return info.status();
      return decode_and_render(encoded, info.value(), limits, {decode_min}, targets);
    }();
  }
  raise_if_error(status);
  return rows;
}

py::tuple picture(const py::bytes& data, const MediaLimits& limits, std::uint32_t decode_min) {
  const auto encoded = bytes_of(data);
  auto decoded = [&]() -> Result<Picture> {
    // Safe: as above.
    const py::gil_scoped_release release;
    const auto info = probe(encoded, limits);
    if (!info.ok()) return info.status();
    return decode_picture(encoded, info.value(), limits, {decode_min});
  }();
  raise_if_error(decoded.ok() ? Status() : decoded.status());
  const Picture& found = decoded.value();
  return py::make_tuple(found.width, found.height, bytes_from(found));
}

struct Frames {
  std::vector<std::pair<std::int64_t, Picture>> frames;
  std::uint32_t similar = 0;
  SequenceFacts facts;
};

Result<Frames> read_frames(std::span<const std::uint8_t> data, const SamplingPlan& plan,
                           const MediaLimits& limits) {
  const auto info = probe(data, limits);
  if (!info.ok()) return info.status();
  FrameCursor cursor;
  auto source = FrameSource::open(data, info.value(), limits, plan, cursor);
  if (!source.ok()) return source.status();
  Frames found;
  while (true) {
    PictureSink sink;
    const auto step = source.value()->next(cursor, sink);
    if (!step.ok()) return step.status();
    found.facts = source.value()->facts();
    if (step.value().kind == StepKind::kEnd) return found;
    if (step.value().kind == StepKind::kSimilar) {
      ++found.similar;
      continue;
    }
    auto frame = sink.take();
    if (!frame.ok()) return frame.status();
    found.frames.emplace_back(step.value().time_ms, std::move(frame).value());
  }
}

py::dict facts_of(const SequenceFacts& facts) {
  using namespace py::literals;
  return py::dict("width"_a = facts.width, "height"_a = facts.height, "duration_ms"_a = facts.duration_ms,
                  "planned"_a = facts.planned, "codec"_a = facts.codec, "partial"_a = is_partial(facts.notes),
                  "notes"_a = describe_notes(facts.notes));
}

py::tuple sample_frames(const py::bytes& data, std::uint32_t max_frames, std::uint32_t min_interval_ms,
                        std::uint64_t seed, const MediaLimits& limits) {
  const auto encoded = bytes_of(data);
  auto found = [&]() -> Result<Frames> {
    // Safe: as above.
    const py::gil_scoped_release release;
    return read_frames(encoded, {max_frames, min_interval_ms, seed}, limits);
  }();
  raise_if_error(found.ok() ? Status() : found.status());
  py::list frames;
  for (const auto& [time_ms, frame] : found.value().frames) {
    frames.append(py::make_tuple(time_ms, frame.width, frame.height, bytes_from(frame)));
  }
  py::dict facts = facts_of(found.value().facts);
  facts["similar"] = found.value().similar;
  return py::make_tuple(frames, facts);
}

void bind_views(py::module_& m) {
  const ImageView defaults;
  py::class_<ImageView>(m, "ImageView",
                        "A picture's tensor: resize, then crop or pad, then order and layout; uint8.")
      .def(py::init(&make_image_view), py::arg("width"), py::arg("height"), py::arg("mode") = "stretch",
           py::arg("filter") = "bilinear", py::arg("crop_width") = 0, py::arg("crop_height") = 0,
           py::arg("pad_anchor") = "center", py::arg("pad_color") = std::make_tuple(0, 0, 0),
           py::arg("color") = "rgb", py::arg("layout") = "nhwc",
           py::arg("background") = std::make_tuple(255, 255, 255), py::arg("ignore_alpha") = false,
           py::arg("ignore_orientation") = false)
      .def_readonly("width", &ImageView::width)
      .def_readonly("height", &ImageView::height)
      .def_property_readonly("mode", [](const ImageView& view) { return spell(kModes, view.mode); })
      .def_property_readonly("filter", [](const ImageView& view) { return spell(kFilters, view.filter); })
      .def_readonly("crop_width", &ImageView::crop_width)
      .def_readonly("crop_height", &ImageView::crop_height)
      .def_property_readonly("pad_anchor",
                             [](const ImageView& view) { return spell(kAnchors, view.pad_anchor); })
      .def_property_readonly("pad_color", [](const ImageView& view) { return color_tuple(view.pad_color); })
      .def_property_readonly("background", [](const ImageView& view) { return color_tuple(view.background); })
      .def_readonly("ignore_alpha", &ImageView::ignore_alpha)
      .def_readonly("ignore_orientation", &ImageView::ignore_orientation)
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
               spell(kAnchors, view.pad_anchor) + "', pad_color=" + color_text(view.pad_color) + ", color='" +
               spell(kColors, view.color) + "', layout='" + spell(kLayouts, view.layout) +
               "', background=" + color_text(view.background) +
               ", ignore_alpha=" + (view.ignore_alpha ? "True" : "False") +
               ", ignore_orientation=" + (view.ignore_orientation ? "True" : "False") + ")";
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
      .def(py::init([](std::uint64_t max_bytes, std::uint64_t max_video_bytes, std::uint64_t max_pixels,
                       std::uint32_t max_side_px, std::uint32_t max_duration_ms,
                       std::uint32_t max_animation_frames, std::uint32_t max_scans,
                       std::uint64_t max_coefficient_bytes, std::uint32_t max_cpu_ms) {
             return MediaLimits{max_bytes,   max_video_bytes,       max_pixels,
                                max_side_px, max_duration_ms,       max_animation_frames,
                                max_scans,   max_coefficient_bytes, max_cpu_ms};
           }),
           py::arg("max_bytes") = defaults.max_bytes, py::arg("max_video_bytes") = defaults.max_video_bytes,
           py::arg("max_pixels") = defaults.max_pixels, py::arg("max_side_px") = defaults.max_side_px,
           py::arg("max_duration_ms") = defaults.max_duration_ms,
           py::arg("max_animation_frames") = defaults.max_animation_frames,
           py::arg("max_scans") = defaults.max_scans,
           py::arg("max_coefficient_bytes") = defaults.max_coefficient_bytes,
           py::arg("max_cpu_ms") = defaults.max_cpu_ms)
      .def_readonly("max_bytes", &MediaLimits::max_bytes)
      .def_readonly("max_video_bytes", &MediaLimits::max_video_bytes)
      .def_readonly("max_pixels", &MediaLimits::max_pixels)
      .def_readonly("max_side_px", &MediaLimits::max_side_px)
      .def_readonly("max_duration_ms", &MediaLimits::max_duration_ms)
      .def_readonly("max_animation_frames", &MediaLimits::max_animation_frames)
      .def_readonly("max_scans", &MediaLimits::max_scans)
      .def_readonly("max_coefficient_bytes", &MediaLimits::max_coefficient_bytes)
      .def_readonly("max_cpu_ms", &MediaLimits::max_cpu_ms);

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
      .def_readonly("duration_ms", &MediaInfo::duration_ms)
      .def_property_readonly("is_sequence", &MediaInfo::is_sequence)
      .def_property_readonly("is_video", [](const MediaInfo& info) { return is_video(info.format); })
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
  m.def("render_views", &render_views, py::arg("data"), py::arg("views"), py::arg("limits") = defaults,
        py::arg("decode_min") = 0,
        "Decode a picture once and render its views: exactly the rows of uint8 pixels that heads see.");
  m.def("decode_picture", &picture, py::arg("data"), py::arg("limits") = defaults, py::arg("decode_min") = 0,
        "(width, height, RGB bytes) of a picture, upright, alpha on white.");
  m.def("sample_frames", &sample_frames, py::arg("data"), py::arg("max_frames"),
        py::arg("min_interval_ms") = 0, py::arg("seed") = 0, py::arg("limits") = defaults,
        "([(time_ms, width, height, RGB bytes)], facts) of a video or an animated picture.");
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
  m.def("video_codecs", &video_codecs, "Names of the video codecs that are decoded.");
}

}  // namespace floodgate
