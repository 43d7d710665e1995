#include "message.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace floodgate::acceptor {
namespace {

constexpr Nanos kMostDecodeNs = 3600 * kSecond;
constexpr std::size_t kMostTextBytes = std::numeric_limits<std::uint16_t>::max();

Status nonsense(const char* what) {
  return {Code::kInvalidArgument, std::string("a submission is not sound: ") + what};
}

constexpr bool is_turn(std::uint8_t orientation) { return orientation >= 1 && orientation <= 8; }

// REQUIRES: the format is one.
MediaInfo info_of(const MediaFields& fields) {
  MediaInfo info;
  info.format = static_cast<Format>(fields.format);
  info.width = fields.width;
  info.height = fields.height;
  info.orientation = fields.orientation;
  info.undo = fields.undo;
  info.bits = fields.bits;
  info.channels = fields.channels;
  info.has_alpha = fields.has_alpha != 0;
  info.progressive = fields.progressive != 0;
  info.frames = fields.frames;
  info.duration_ms = fields.duration_ms;
  info.decode_cost_ns = fields.decode_cost_ns;
  return info;
}

// The same limits as the probe's, whose word the fields claim to be.
Status read_media(const MediaFields& fields, std::uint64_t size, const MediaLimits& limits, MediaInfo& info) {
  if (fields.format < static_cast<std::uint8_t>(Format::kJpeg) ||
      fields.format > static_cast<std::uint8_t>(Format::kFlv)) {
    return nonsense("its format");
  }
  const bool video = is_video(static_cast<Format>(fields.format));
  if (size > (video ? limits.max_video_bytes : limits.max_bytes)) return nonsense("its size");
  if (fields.width > limits.max_side_px || fields.height > limits.max_side_px ||
      std::uint64_t{fields.width} * fields.height > limits.max_pixels) {
    return nonsense("its width and height");
  }
  if (!video && (fields.width == 0 || fields.height == 0)) return nonsense("it has no pixels");
  if (!is_turn(fields.orientation) || !is_turn(fields.undo)) return nonsense("its orientation");
  if (fields.bits == 0 || fields.bits > 64 || fields.channels == 0 || fields.channels > 4 ||
      fields.has_alpha > 1 || fields.progressive > 1) {
    return nonsense("its samples");
  }
  if (fields.decode_cost_ns < 0 || fields.decode_cost_ns > kMostDecodeNs) return nonsense("its cost");
  info = info_of(fields);
  return {};
}

// Reads one message's bytes; once something is missing, everything that follows is zero and ok() is false.
class Parser {
 public:
  explicit Parser(std::span<const std::uint8_t> bytes) : left_(bytes) {}
  template <typename T>
  T take() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    if (enough(sizeof value)) {
      std::memcpy(&value, left_.data(), sizeof value);
      left_ = left_.subspan(sizeof value);
    }
    return value;
  }
  std::string text() {
    const auto size = take<std::uint16_t>();
    if (!enough(size)) return {};
    std::string text(reinterpret_cast<const char*>(left_.data()), size);
    left_ = left_.subspan(size);
    return text;
  }
  std::vector<float> floats() {
    const auto count = take<std::uint32_t>();
    if (!enough(count * sizeof(float))) return {};
    std::vector<float> values(count);
    if (count > 0) std::memcpy(values.data(), left_.data(), count * sizeof(float));
    left_ = left_.subspan(count * sizeof(float));
    return values;
  }
  // How many things follow, each of `least` bytes at least.
  std::size_t count(std::size_t least) {
    const auto count = take<std::uint32_t>();
    return enough(count * least) ? count : 0;
  }
  [[nodiscard]] bool ended() const { return ok_ && left_.empty(); }

 private:
  bool enough(std::size_t bytes) {
    ok_ = ok_ && bytes <= left_.size();
    return ok_;
  }

  std::span<const std::uint8_t> left_;
  bool ok_ = true;
};

struct RowFields {
  std::int64_t time_ms = 0;
  TextSpan span;
};

struct CountFields {
  std::uint32_t frames_sampled = 0;
  std::uint32_t frames_dropped = 0;
  std::uint32_t frames_missed = 0;
  std::uint32_t has_info = 0;
  std::uint64_t copied_bytes = 0;
  DigestFields digest;
};

std::size_t elements_of(const EnsembleConfig& config) {
  std::size_t elements = 0;
  for (const OutputConfig& output : config.outputs) elements += output.elements;
  return elements;
}

bool read_scores(Parser& parser, const Ensembles& ensembles, RowScores& scores) {
  const auto ensemble = parser.take<std::uint32_t>();
  scores.values = parser.floats();
  const std::size_t missing = parser.count(2 * sizeof(std::uint16_t));
  for (std::size_t i = 0; i < missing; ++i) {
    std::string head = parser.text();
    scores.missing.push_back({std::move(head), parser.text()});
  }
  if (ensemble >= ensembles.size() || scores.values.size() != elements_of(*ensembles[ensemble])) return false;
  scores.config = ensembles[ensemble];
  return true;
}

Status unreadable() { return {Code::kInternal, "the scheduler's process sent what cannot be read"}; }

}  // namespace

MediaFields fields_of(const MediaInfo& info) {
  MediaFields fields;
  fields.decode_cost_ns = info.decode_cost_ns;
  fields.width = info.width;
  fields.height = info.height;
  fields.frames = info.frames;
  fields.duration_ms = info.duration_ms;
  fields.format = static_cast<std::uint8_t>(info.format);
  fields.orientation = info.orientation;
  fields.undo = info.undo;
  fields.bits = info.bits;
  fields.channels = info.channels;
  fields.has_alpha = info.has_alpha ? 1 : 0;
  fields.progressive = info.progressive ? 1 : 0;
  return fields;
}

DigestFields fields_of(const std::optional<Sha256>& digest) {
  return digest ? DigestFields{1, *digest} : DigestFields{};
}

std::optional<Sha256> digest_of(const DigestFields& fields) {
  return fields.known != 0 ? std::optional(fields.sha256) : std::nullopt;
}

Status read_submit(const SubmitFields& fields, const Bounds& bounds, Submission& submission) {
  if (fields.size == 0 || fields.offset > bounds.arena_bytes ||
      fields.size > bounds.arena_bytes - fields.offset) {
    return nonsense("its bytes do not lie in the arena");
  }
  if (fields.lane < 1 || fields.lane > kLanes) return nonsense("its lane");
  if (fields.modality != static_cast<std::uint8_t>(Modality::kImage) &&
      fields.modality != static_cast<std::uint8_t>(Modality::kText)) {
    return nonsense("its modality");
  }
  if (fields.ensembles == 0 || std::uint64_t{fields.ensembles} >> bounds.ensembles != 0) {
    return nonsense("its ensembles");
  }
  if (fields.max_frames < 1 || fields.max_frames > kMaxPlannedFrames) return nonsense("its frames");
  ForeignBytes foreign;
  foreign.block = {fields.offset, fields.size};
  submission.modality = static_cast<Modality>(fields.modality);
  if (submission.modality == Modality::kImage) {
    if (Status read = read_media(fields.info, fields.size, bounds.media, foreign.info); !read.ok())
      return read;
  }
  submission.lane = static_cast<Lane>(fields.lane);
  submission.deadline_ns = fields.deadline_ns;
  submission.plan = {fields.max_frames, fields.min_interval_ms, fields.seed};
  submission.foreign = std::move(foreign);
  return {};
}

void Packer::begin(Kind kind) {
  begun_ = out_.size();
  put(Header{static_cast<std::uint32_t>(kind), 0});
}

void Packer::end() {
  const auto bytes = static_cast<std::uint32_t>(out_.size() - begun_ - sizeof(Header));
  std::memcpy(out_.data() + begun_ + offsetof(Header, bytes), &bytes, sizeof bytes);
}

void Packer::put_bytes(const void* bytes, std::size_t size) {
  const auto* first = static_cast<const std::uint8_t*>(bytes);
  out_.insert(out_.end(), first, first + size);
}

void Packer::put_text(std::string_view text) {
  text = text.substr(0, kMostTextBytes);
  put(static_cast<std::uint16_t>(text.size()));
  put_bytes(text.data(), text.size());
}

void Packer::refused(std::uint64_t ticket, const Status& status) {
  begin(Kind::kRefused);
  put(ticket);
  put(status.retry_after_ns());
  put(static_cast<std::uint8_t>(status.code()));
  put_text(status.message());
  end();
}

void Packer::put_scores(const RowScores& scores, std::span<const std::string> ensembles) {
  const auto found = std::ranges::find(ensembles, scores.config->name);
  put(static_cast<std::uint32_t>(found - ensembles.begin()));
  put(static_cast<std::uint32_t>(scores.values.size()));
  put_bytes(scores.values.data(), scores.values.size() * sizeof(float));
  put(static_cast<std::uint32_t>(scores.missing.size()));
  for (const MissingHead& head : scores.missing) {
    put_text(head.head);
    put_text(head.reason);
  }
}

void Packer::answer(std::uint64_t ticket, const Done& done, std::span<const std::string> ensembles) {
  begin(Kind::kAnswer);
  put(ticket);
  put(static_cast<std::uint8_t>(done.code));
  put_text(done.message);
  put(CountFields{done.frames_sampled, done.frames_dropped, done.frames_missed, done.info ? 1U : 0U,
                  done.copied_bytes, fields_of(done.digest)});
  put(done.info ? fields_of(*done.info) : MediaFields{});
  put(done.sequence);
  put(done.timings);
  put(static_cast<std::uint32_t>(done.rows.size()));
  for (const DoneRow& row : done.rows) {
    put(RowFields{row.time_ms, row.span});
    put(static_cast<std::uint32_t>(row.scores.size()));
    for (const RowScores& scores : row.scores) put_scores(scores, ensembles);
  }
  end();
}

Result<Done> read_refused(std::span<const std::uint8_t> bytes) {
  Parser parser(bytes);
  Done done;
  done.ticket = parser.take<std::uint64_t>();
  done.retry_after_ns = parser.take<std::int64_t>();
  const auto code = parser.take<std::uint8_t>();
  done.message = parser.text();
  if (!parser.ended() || code == 0 || code > static_cast<std::uint8_t>(kLastCode)) return unreadable();
  done.code = static_cast<Code>(code);
  return done;
}

Result<Done> read_answer(std::span<const std::uint8_t> bytes, const Ensembles& ensembles) {
  Parser parser(bytes);
  Done done;
  done.ticket = parser.take<std::uint64_t>();
  const auto code = parser.take<std::uint8_t>();
  done.message = parser.text();
  const auto counts = parser.take<CountFields>();
  const auto info = parser.take<MediaFields>();
  done.sequence = parser.take<SequenceFacts>();
  done.timings = parser.take<Timings>();
  const std::size_t rows = parser.count(sizeof(RowFields) + sizeof(std::uint32_t));
  done.rows.resize(rows);
  for (DoneRow& row : done.rows) {
    const auto fields = parser.take<RowFields>();
    row.time_ms = fields.time_ms;
    row.span = fields.span;
    row.scores.resize(parser.count(3 * sizeof(std::uint32_t)));
    for (RowScores& scores : row.scores) {
      if (!read_scores(parser, ensembles, scores)) return unreadable();
    }
  }
  if (!parser.ended() || code > static_cast<std::uint8_t>(kLastCode)) return unreadable();
  done.code = static_cast<Code>(code);
  if (counts.has_info != 0) done.info = info_of(info);
  done.frames_sampled = counts.frames_sampled;
  done.frames_dropped = counts.frames_dropped;
  done.frames_missed = counts.frames_missed;
  done.copied_bytes = counts.copied_bytes;
  done.digest = digest_of(counts.digest);
  return done;
}

}  // namespace floodgate::acceptor
