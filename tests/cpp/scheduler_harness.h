// What the scheduler's tests share: tiny ensembles, a deterministic and fault-injecting decode step, and a
// model that reads the batch through its shared-memory name, as the inference server would, and answers with
// what it read.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "floodgate/scheduler.h"

namespace floodgate::testing {

inline constexpr char kBroken = 'B';  // the decode fails
inline constexpr char kGated = 'G';   // the decode waits for the gate
inline constexpr char kPlain = 'P';
inline constexpr char kVideo = 'V';  // a sequence of frames

// An encoded "picture": how it decodes, then the ticket's id, which its pixels will carry.
inline std::vector<std::uint8_t> picture(std::uint64_t id, char kind = kPlain, std::size_t padding = 0) {
  std::vector<std::uint8_t> data(9 + padding, 0xEE);
  data[0] = static_cast<std::uint8_t>(kind);
  std::memcpy(&data[1], &id, 8);
  return data;
}

inline Result<MediaInfo> probe_picture(std::span<const std::uint8_t> data, const MediaLimits& limits) {
  if (data.size() < 9) return Status(Code::kInvalidContent, "too short for a picture");
  if (data.size() > limits.max_bytes) return Status(Code::kTooLarge, "too many bytes");
  MediaInfo info;
  info.width = info.height = 2;
  info.decode_cost_ns = kMicrosecond;
  if (data[0] == kVideo) info.frames = 0;
  return info;
}

// Holds every gated decode until opened; tells how many wait.
class Gate {
 public:
  void pass() {
    std::unique_lock lock(mu_);
    ++waiting_;
    changed_.notify_all();
    changed_.wait(lock, [&, before = times_] { return open_ || times_ != before; });
    --waiting_;
  }
  void open() {
    const std::lock_guard lock(mu_);
    open_ = true;
    changed_.notify_all();
  }
  // Those who wait now go on; the gate stays shut.
  void let_through() {
    const std::lock_guard lock(mu_);
    ++times_;
    changed_.notify_all();
  }
  void await(int count) {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [&] { return waiting_ >= count; });
  }

 private:
  std::mutex mu_;
  std::condition_variable changed_;
  int waiting_ = 0;
  std::uint64_t times_ = 0;
  bool open_ = false;
};

// Every pixel triple-byte of a row repeats the id's eight bytes; view index i adds i to each byte.
inline DecodeFn fake_decode(Gate* gate = nullptr) {
  return [gate](std::span<const std::uint8_t> data, const MediaInfo&, const MediaLimits&,
                const DecodeOptions&, std::span<const RenderTarget> targets) -> Status {
    if (gate != nullptr && data[0] == kGated) gate->pass();
    for (const RenderTarget& target : targets) {
      for (std::size_t i = 0; i < target.row.size(); ++i) target.row[i] = data[1 + i % 8];
    }
    if (data[0] == kBroken) return Status(Code::kInvalidContent, "the picture is broken");
    return {};
  };
}

inline ImageView view(std::int32_t width, std::int32_t height) {
  ImageView view;
  view.width = width;
  view.height = height;
  return view;
}

// Two heads: "id" answers the id it read as four 16-bit numbers, "size" the sum of the row's bytes.
inline EnsembleConfig image_ensemble(const std::string& name = "image@test") {
  EnsembleConfig config;
  config.name = name;
  config.tensors = {{"small", view(2, 4)}, {"large", view(8, 8)}};
  config.heads = {"id", "sum"};
  config.outputs = {{"id__words", "id", 4}, {"sum__total", "sum", 1}};
  config.max_batch = 4;
  config.buffers = 4;
  config.credit = 2;
  return config;
}

inline EnsembleConfig text_ensemble(const std::string& name = "text@test",
                                    std::vector<std::int32_t> buckets = {8, 16}) {
  EnsembleConfig config;
  config.name = name;
  config.modality = Modality::kText;
  config.tensors = {{"text", TextView{std::move(buckets)}}};
  config.heads = {"sum"};
  config.outputs = {{"sum__total", "sum", 1}};
  config.max_batch = 4;
  config.buffers = 3;
  config.credit = 1;
  return config;
}

// A read-only mapping of a region by name, as another process would make it.
class Mapping {
 public:
  explicit Mapping(const std::string& key) {
    const int fd = shm_open(key.c_str(), O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return;
    struct stat info {};
    fstat(fd, &info);
    size_ = static_cast<std::size_t>(info.st_size);
    base_ = mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
  }
  ~Mapping() {
    if (base_ != MAP_FAILED) munmap(base_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  [[nodiscard]] bool ok() const { return base_ != MAP_FAILED; }
  [[nodiscard]] std::span<const std::uint8_t> bytes(const TensorRef& tensor) const {
    return {static_cast<const std::uint8_t*>(base_) + tensor.offset, static_cast<std::size_t>(tensor.bytes)};
  }

 private:
  void* base_ = MAP_FAILED;
  std::size_t size_ = 0;
};

struct Answers {
  std::vector<float> words;  // image: 4 a row
  std::vector<float> total;  // 1 a row
  std::vector<std::uint64_t> ids;
  std::vector<std::string> texts;

  [[nodiscard]] std::vector<OutputValues> outputs() const {
    std::vector<OutputValues> outputs{{"sum__total", total}};
    if (!words.empty()) outputs.push_back({"id__words", words});
    return outputs;
  }
};

// The model. Fails the test when a row's tensors disagree about whose it is.
inline Answers infer(const Batch& batch) {
  Answers answers;
  for (std::size_t t = 0; t < batch.tensors.size(); ++t) {
    const TensorRef& tensor = batch.tensors[t];
    const Mapping mapping(tensor.region);
    EXPECT_TRUE(mapping.ok()) << tensor.region;
    if (!mapping.ok()) return answers;
    const auto all = mapping.bytes(tensor);
    const std::size_t row_bytes = all.size() / batch.rows;
    for (std::uint32_t row = 0; row < batch.rows; ++row) {
      const auto bytes = all.subspan(row * row_bytes, row_bytes);
      if (tensor.name == "text") {
        float total = 0;
        for (const std::uint8_t byte : bytes) total += byte;
        answers.total.push_back(total);
        answers.texts.emplace_back(bytes.begin(), bytes.end());
      } else if (tensor.name == "text_length") {
        std::int32_t length = 0;
        std::memcpy(&length, bytes.data(), 4);
        answers.texts[row].resize(static_cast<std::size_t>(length));
      } else {
        std::uint64_t id = 0;
        std::memcpy(&id, bytes.data(), 8);
        for (std::size_t i = 0; i < bytes.size(); ++i) {
          EXPECT_EQ(bytes[i], static_cast<std::uint8_t>(id >> 8 * (i % 8))) << "a torn row";
        }
        if (t == 0) {
          answers.ids.push_back(id);
          for (int word = 0; word < 4; ++word)
            answers.words.push_back(static_cast<float>(id >> 16 * word & 0xFFFF));
          answers.total.push_back(static_cast<float>(bytes.size()));
        } else {
          EXPECT_EQ(answers.ids[row], id) << "two tensors of one row belong to different tickets";
        }
      }
    }
  }
  return answers;
}

inline std::uint64_t id_of(const RowScores& scores) {
  const auto words = scores.output(0);
  std::uint64_t id = 0;
  for (int word = 3; word >= 0; --word) id = id << 16 | static_cast<std::uint64_t>((*words)[word]);
  return id;
}

// A scheduler and what came out of it so far. Blocks on the eventfd, at most 20 s, never on a clock.
class Bench {
 public:
  explicit Bench(SchedulerOptions options = {},
                 std::vector<EnsembleConfig> ensembles = {image_ensemble(), text_ensemble()}) {
    if (!options.probe) options.probe = probe_picture;
    if (!options.decode) options.decode = fake_decode(&gate);
    scheduler = std::move(Scheduler::create(std::move(options))).value();
    const Status configured = scheduler->configure(1, std::move(ensembles));
    EXPECT_TRUE(configured.ok()) << configured.message();
  }
  ~Bench() { gate.open(); }

  Status submit_picture(std::uint64_t id, char kind = kPlain, Nanos deadline = kNever,
                        Lane lane = Lane::kStandard, std::vector<std::string> ensembles = {"image@test"}) {
    const auto data = picture(id, kind);
    Submission submission;
    submission.ticket = id;
    submission.ensembles = std::move(ensembles);
    submission.data = data;
    submission.lane = lane;
    submission.deadline_ns = deadline;
    return scheduler->submit(submission);
  }
  Status submit_text(std::uint64_t id, const std::string& text,
                     std::vector<std::string> ensembles = {"text@test"}) {
    Submission submission;
    submission.ticket = id;
    submission.ensembles = std::move(ensembles);
    submission.modality = Modality::kText;
    submission.data = {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
    return scheduler->submit(submission);
  }

  bool readable(int timeout_ms) const {
    pollfd fd{scheduler->fd(), POLLIN, 0};
    return ::poll(&fd, 1, timeout_ms) == 1;
  }
  void pump() {
    for (Batch& batch : scheduler->take_batches()) batches.push_back(std::move(batch));
    for (Done& each : scheduler->poll_done()) {
      EXPECT_FALSE(done.contains(each.ticket)) << "a second answer to " << each.ticket;
      done[each.ticket] = std::move(each);
    }
  }
  bool await(const std::function<bool()>& reached) {
    pump();
    while (!reached()) {
      if (!readable(20'000)) return false;
      pump();
    }
    return true;
  }
  Batch await_batch() {
    EXPECT_TRUE(await([&] { return !batches.empty(); })) << "no batch came";
    if (batches.empty()) return {};
    Batch batch = std::move(batches.front());
    batches.erase(batches.begin());
    return batch;
  }
  const Done& await_done(std::uint64_t ticket) {
    EXPECT_TRUE(await([&] { return done.contains(ticket); })) << "no answer to " << ticket;
    return done[ticket];
  }
  void answer(const Batch& batch) {
    const Answers answers = infer(batch);
    EXPECT_TRUE(scheduler->complete(batch.batch_id, answers.outputs(), {}).ok());
  }
  // Answers whatever comes until every ticket in `tickets` is done.
  void serve(const std::vector<std::uint64_t>& tickets) {
    for (const std::uint64_t ticket : tickets) {
      while (await([&] { return done.contains(ticket) || !batches.empty(); }) && !done.contains(ticket)) {
        answer(await_batch());
      }
      ASSERT_TRUE(done.contains(ticket));
    }
  }
  std::uint32_t buffers(BufferState state) const {
    std::uint32_t count = 0;
    for (const EnsembleStats& each : scheduler->stats().ensembles) {
      count += each.buffers[static_cast<std::size_t>(state)];
    }
    return count;
  }
  // Waits, at most 20 s, until the workers and the dispatcher have put away what they held when the last
  // answer came: a batch may be closing, or closed, whose rows are all dead. Such a batch is never sent.
  void settle() {
    const Nanos end = monotonic_now() + 20 * kSecond;
    const auto moving = [this] {
      const Stats stats = scheduler->stats();
      return std::ranges::any_of(stats.ensembles, [](const EnsembleStats& each) {
        return each.decoding_rows > 0 || each.buffers[static_cast<std::size_t>(BufferState::kSealing)] > 0 ||
               each.buffers[static_cast<std::size_t>(BufferState::kSealed)] > 0;
      });
    };
    do {
      pump();
      std::this_thread::yield();
    } while (moving() && monotonic_now() < end);
    EXPECT_TRUE(batches.empty()) << "a batch was sent that nobody waits for, or was not answered";
  }
  void expect_everything_free() {
    settle();
    // What nobody decoded holds its bytes until its digest is made.
    for (auto& [ticket, each] : done) (void)digest_of(each);
    const Stats stats = scheduler->stats();
    EXPECT_EQ(stats.arena_used_bytes, 0u);
    EXPECT_EQ(stats.open_tickets, 0u);
    EXPECT_EQ(stats.waiting_decode_ns, 0u);
    EXPECT_EQ(stats.counters.tickets, stats.counters.done);
    for (const EnsembleStats& each : stats.ensembles) {
      EXPECT_EQ(each.ready_rows + each.decoding_rows + each.waiting_rows, 0u);
      for (std::size_t state = 1; state < kBufferStates; ++state) EXPECT_EQ(each.buffers[state], 0u) << state;
    }
  }

  Gate gate;
  std::unique_ptr<Scheduler> scheduler;
  std::vector<Batch> batches;
  std::map<std::uint64_t, Done> done;
};

}  // namespace floodgate::testing
