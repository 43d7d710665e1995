// What an acceptor sends, and what it is sent: nothing that is read leaves its bounds, whatever the bytes.
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "acceptor/message_stream.h"
#include "checked_sink.h"

namespace {

using namespace floodgate;  // NOLINT(google-build-using-namespace)

constexpr std::uint64_t kArenaBytes = 1 << 16;

acceptor::Ensembles ensembles() {
  EnsembleConfig config;
  config.name = "image@fuzz";
  config.heads = {"head"};
  config.outputs = {{"head__scores", "head", 3}};
  return {std::make_shared<const EnsembleConfig>(config)};
}

void read_submission(std::span<const std::uint8_t> bytes) {
  acceptor::SubmitFields fields;
  if (!acceptor::read_plain(bytes, fields)) return;
  Submission submission;
  const Status read = acceptor::read_submit(fields, {2, kArenaBytes, fuzzing::kSmall}, submission);
  if (!read.ok()) {
    fuzzing::require(!read.message().empty());
    return;
  }
  const ForeignBytes& foreign = *submission.foreign;
  fuzzing::require(foreign.block.size > 0 && foreign.block.offset < kArenaBytes &&
                   foreign.block.size <= kArenaBytes - foreign.block.offset);
  fuzzing::require(lane_index(submission.lane) < kLanes && fields.ensembles > 0 && fields.ensembles < 4);
  fuzzing::require(submission.plan.max_frames >= 1 && submission.plan.max_frames <= kMaxPlannedFrames);
  if (submission.modality == Modality::kText) return;
  fuzzing::require(foreign.info.format >= Format::kJpeg && foreign.info.format <= Format::kFlv);
  fuzzing::require(std::uint64_t{foreign.info.width} * foreign.info.height <= fuzzing::kSmall.max_pixels);
  fuzzing::require(foreign.info.channels >= 1 && foreign.info.channels <= 4 &&
                   foreign.info.decode_cost_ns >= 0);
}

}  // namespace

// The first byte says in how large pieces the rest arrives.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const acceptor::Ensembles known = ensembles();
  if (size < 2 || size > 1 << 15) return 0;
  const std::span<const std::uint8_t> rest(data + 1, size - 1);
  if (const auto answer = acceptor::read_answer(rest, known); answer.ok()) {
    for (const DoneRow& row : answer.value().rows) {
      for (const RowScores& scores : row.scores) fuzzing::require(scores.values.size() == 3);
    }
  }
  (void)acceptor::read_refused(rest);
  read_submission(rest);

  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 0;
  Descriptor writer(ends[1]);
  acceptor::MessageStream stream(Descriptor(ends[0]), acceptor::kMostRequestBytes);
  std::size_t read = 0;
  for (std::size_t at = 0; at < rest.size() && !stream.broken();) {
    const auto piece = rest.subspan(at, std::min<std::size_t>(1 + data[0], rest.size() - at));
    fuzzing::require(send(writer.get(), piece.data(), piece.size(), 0) == static_cast<ssize_t>(piece.size()));
    at += piece.size();
    bool more = false;
    fuzzing::require(stream.fill(more));
    while (const auto message = stream.next()) {
      fuzzing::require(message->bytes.size() <= acceptor::kMostRequestBytes);
      read += sizeof(acceptor::Header) + message->bytes.size();
      read_submission(message->bytes);
    }
  }
  fuzzing::require(read <= rest.size());
  return 0;
}
