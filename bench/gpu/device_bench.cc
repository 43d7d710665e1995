// Times the device's parts and hands its memory to another process. One "name value unit" a line.
//
//   device_bench <jpeg> <repeats>           all measurements; the JPEG is decoded in batches of kBatch
//   device_bench read <handle> <bytes>      the other process: prints a checksum of what the handle opens
//
// Exit status 3: there is no device to measure, with the reason on stderr.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "cuda/cuda_device.h"
#include "cuda/device_memory.h"
#include "floodgate/clock.h"
#include "floodgate/device.h"
#include "view/reference.h"

namespace floodgate {
namespace {

using cuda::DeviceMemory;
using cuda::DeviceState;
using cuda::JpegOutcome;
using cuda::JpegPicture;
using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kBatch = 64;
constexpr int kThreads = 64;
constexpr std::size_t kCopyBytes = std::size_t{1} << 30;
constexpr int kNoDevice = 3;
constexpr int kWrong = 1;

void say(const std::string& name, double value, const char* unit) {
  std::printf("%s %.6g %s\n", name.c_str(), value, unit);
  std::fflush(stdout);
}

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "device_bench: %s\n", why.c_str());
  std::exit(kWrong);
}

void require(const Status& status) {
  if (!status.ok()) give_up(status.message());
}

std::uint64_t checksum(const Bytes& bytes) {
  std::uint64_t hash = 14695981039346656037ULL;  // FNV-1a
  for (const std::uint8_t byte : bytes) hash = (hash ^ byte) * 1099511628211ULL;
  return hash;
}

std::vector<ImageView> views() {
  return {{.width = 256, .height = 256, .crop_width = 224, .crop_height = 224, .color = ColorOrder::kBgr},
          {.width = 320, .height = 320, .mode = ResizeMode::kContain}};
}

// A device's parts, apart from the threads that serve with it.
class Parts {
 public:
  explicit Parts(const Bytes& jpeg) : jpeg_(jpeg), state_(*cuda::cuda_runtime(), 0), stream_(state_) {
    require(state_.check(runtime().use(0), "choosing the device"));
    require(stream_.open());
    auto info = probe(jpeg, {});
    if (!info.ok()) give_up(info.status().message());
    info_ = info.value();
  }

  void measure(int repeats) {
    const double bytes_per_s = copy_bandwidth(repeats);
    say("copy_bandwidth", bytes_per_s / 1e9, "GB/s");
    const double kernel_s = kernel(repeats);
    const double moved = static_cast<double>(kBatch) * (3.0 * info_.width * info_.height + row_bytes());
    say("kernel_ms_per_picture", 1e3 * kernel_s / kBatch, "ms");
    say("kernel_time_over_copy_time", kernel_s * bytes_per_s / (2 * moved), "ratio");
    const double decode_s = decode(repeats);
    say("nvjpeg_pictures_per_s", kBatch / decode_s, "1/s");
    say("kernel_time_over_decode_time", kernel_s / decode_s, "ratio");
  }

  // Whether the views of the batch equal the readable reference on the pixels that nvJPEG made.
  void compare() {
    decode_once();
    launch();
    Bytes pixels(pitch() * info_.height);
    fetch(pixels, surfaces_.data());
    Bytes packed(std::size_t{3} * info_.width * info_.height);
    for (std::size_t y = 0; y < info_.height; ++y) {
      std::memcpy(packed.data() + 3 * info_.width * y, pixels.data() + pitch() * y,
                  std::size_t{3} * info_.width);
    }
    int most = 0;
    std::size_t offset = 0;
    for (const ImageView& view : views_) {
      Bytes row(static_cast<std::size_t>(view.row_bytes()));
      fetch(row, rows_.data() + offset);
      offset += row.size();
      const Bytes wanted = reference_view({info_.width, info_.height}, packed, view);
      for (std::size_t i = 0; i < row.size(); ++i) most = std::max(most, std::abs(row[i] - wanted[i]));
    }
    say("kernel_largest_difference", most, "of 255");
    if (most > 1) give_up("the kernel's views differ from the reference by more than 1 of 255");
  }

  // Another process opens this device's memory by its handle and reads back the same bytes.
  void share(const char* program) {
    DeviceMemory memory(state_);
    Bytes bytes(1 << 20);
    for (std::size_t i = 0; i < bytes.size(); ++i)
      bytes[i] = static_cast<std::uint8_t>(i * 2654435761U >> 13U);
    require(memory.reserve(bytes.size()));
    require(
        state_.check(runtime().copy(memory.data(), bytes.data(), bytes.size(), stream_.get()), "copying"));
    wait();
    cuda::IpcHandle handle{};
    require(state_.check(runtime().share(memory.data(), handle), "sharing memory"));
    std::string text;
    for (const std::uint8_t byte : handle) {
      char digits[3];
      std::snprintf(digits, sizeof digits, "%02x", byte);
      text += digits;
    }
    const std::string command = std::string(program) + " read " + text + " " + std::to_string(bytes.size());
    FILE* const other = popen(command.c_str(), "r");
    unsigned long long seen = 0;
    const bool read = other != nullptr && std::fscanf(other, "%llu", &seen) == 1;
    if (other == nullptr || pclose(other) != 0 || !read || seen != checksum(bytes)) {
      give_up("another process did not read the device memory back right");
    }
    say("shared_with_another_process", 1, "bool");
  }

 private:
  static cuda::Runtime& runtime() { return *cuda::cuda_runtime(); }
  [[nodiscard]] std::size_t pitch() const { return (std::size_t{3} * info_.width + 255) / 256 * 256; }
  [[nodiscard]] std::size_t surface_bytes() const { return pitch() * info_.height; }
  [[nodiscard]] double row_bytes() const {
    double bytes = 0;
    for (const ImageView& view : views_) bytes += static_cast<double>(view.row_bytes());
    return bytes;
  }
  void wait() { require(state_.check(runtime().wait(stream_.get()), "waiting")); }
  void fetch(Bytes& to, const std::uint8_t* from) {
    require(state_.check(runtime().copy(to.data(), from, to.size(), stream_.get()), "copying"));
    wait();
  }

  // Least time of one call, of `repeats` after one that does not count; seconds.
  double least_s(int repeats, const std::function<void()>& call) {
    Nanos least = kNever;
    for (int i = 0; i <= repeats; ++i) {
      const Nanos start = monotonic_now();
      call();
      wait();
      if (i > 0) least = std::min(least, monotonic_now() - start);
    }
    return static_cast<double>(least) / static_cast<double>(kSecond);
  }

  // Bytes read plus bytes written a second.
  double copy_bandwidth(int repeats) {
    DeviceMemory from(state_);
    DeviceMemory to(state_);
    require(from.reserve(kCopyBytes));
    require(to.reserve(kCopyBytes));
    const double seconds = least_s(repeats, [&] {
      require(state_.check(runtime().copy(to.data(), from.data(), kCopyBytes, stream_.get()), "copying"));
    });
    return 2.0 * kCopyBytes / seconds;
  }

  double kernel(int repeats) {
    decode_once();
    launch();
    return least_s(repeats, [&] {
      require(
          state_.check(runtime().launch(device_table_.data(), table_.layout(), stream_.get()), "launching"));
    });
  }

  void launch() {
    require(rows_.reserve(static_cast<std::size_t>(row_bytes()) * kBatch));
    if (table_.empty()) {
      std::uint8_t* row = rows_.data();
      for (std::size_t i = 0; i < kBatch; ++i) {
        std::vector<cuda::DeviceTarget> targets;
        for (const ImageView& view : views_) {
          targets.push_back({&view, row});
          row += view.row_bytes();
        }
        require(table_.add({{info_.width, info_.height}, surfaces_.data() + i * surface_bytes(), pitch()},
                           targets));
      }
      Bytes bytes(table_.size_bytes());
      table_.write(bytes);
      require(device_table_.reserve(bytes.size()));
      require(state_.check(runtime().copy(device_table_.data(), bytes.data(), bytes.size(), stream_.get()),
                           "copying the table"));
      wait();
    }
    require(
        state_.check(runtime().launch(device_table_.data(), table_.layout(), stream_.get()), "launching"));
    wait();
  }

  double decode(int repeats) {
    return least_s(repeats, [&] { decode_batch(); });
  }
  void decode_once() {
    decode_batch();
    wait();
  }
  void decode_batch() {
    if (decoder_ == nullptr) {
      auto library = cuda::load_nvjpeg(library_path());
      if (!library.ok()) give_up(library.status().message());
      library_ = std::move(library).value();
      auto decoder = library_->make_decoder(kBatch);
      if (!decoder.ok()) give_up(decoder.status().message());
      decoder_ = std::move(decoder).value();
      require(surfaces_.reserve(surface_bytes() * kBatch));
    }
    std::vector<JpegPicture> pictures(kBatch);
    for (std::size_t i = 0; i < kBatch; ++i) {
      pictures[i] = {jpeg_, info_.width, info_.height, surfaces_.data() + i * surface_bytes(), pitch()};
    }
    decoder_->decode(pictures, stream_.get());
    for (const JpegPicture& picture : pictures) {
      if (picture.outcome != JpegOutcome::kDecoded) give_up("nvJPEG did not decode the picture");
    }
  }

 public:
  static std::string library_path() {
    const char* path = std::getenv("FLOODGATE_NVJPEG");
    return path != nullptr ? path : "";
  }

 private:
  const Bytes& jpeg_;
  const std::vector<ImageView> views_ = views();
  MediaInfo info_;
  DeviceState state_;
  cuda::Stream stream_;
  std::unique_ptr<cuda::JpegLibrary> library_;
  std::unique_ptr<cuda::JpegDecoder> decoder_;
  cuda::ViewTable table_;
  DeviceMemory surfaces_{state_};
  DeviceMemory rows_{state_};
  DeviceMemory device_table_{state_};
};

// Bytes to views in host memory, as the server does it: many threads, batches as they come.
void whole_path(const Bytes& jpeg, int repeats) {
  DeviceOptions options;
  options.jpeg_library = Parts::library_path();
  auto opened = open_device(options);
  if (!opened.ok()) give_up(opened.status().message());
  Device& device = *opened.value();
  const auto info = probe(jpeg, {});
  const auto wanted = views();
  const auto work = [&](int pictures) {
    std::vector<Bytes> rows;
    std::vector<DeviceRow> targets;
    for (const ImageView& view : wanted) rows.emplace_back(static_cast<std::size_t>(view.row_bytes()));
    for (std::size_t i = 0; i < rows.size(); ++i) targets.push_back({&wanted[i], rows[i], nullptr, 0});
    for (int i = 0; i < pictures; ++i) require(device.render(jpeg, info.value(), targets));
  };
  work(2);  // not timed: first allocations
  const Nanos start = monotonic_now();
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back([&] { work(repeats); });
  for (std::thread& thread : threads) thread.join();
  const double seconds = static_cast<double>(monotonic_now() - start) / static_cast<double>(kSecond);
  say("whole_path_pictures_per_s", kThreads * repeats / seconds, "1/s");
  const DeviceStats stats = device.stats();
  say("whole_path_pictures_per_batch",
      static_cast<double>(stats.pictures) / static_cast<double>(stats.batches), "1");
}

int read_shared(const std::string& text, std::size_t size) {
  cuda::Runtime* const runtime = cuda::cuda_runtime();
  cuda::IpcHandle handle{};
  if (runtime == nullptr || text.size() != 2 * handle.size()) return kWrong;
  for (std::size_t i = 0; i < handle.size(); ++i) {
    handle[i] = static_cast<std::uint8_t>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  void* memory = nullptr;
  void* stream = nullptr;
  Bytes bytes(size);
  if (runtime->use(0) != 0 || runtime->attach(handle, &memory) != 0 || runtime->open_stream(&stream) != 0 ||
      runtime->copy(bytes.data(), memory, size, stream) != 0 || runtime->wait(stream) != 0 ||
      runtime->detach(memory) != 0) {
    return kWrong;
  }
  std::printf("%llu\n", static_cast<unsigned long long>(checksum(bytes)));
  return 0;
}

int run(int argc, char** argv) {
  if (argc == 4 && std::strcmp(argv[1], "read") == 0) return read_shared(argv[2], std::stoul(argv[3]));
  if (argc != 3) give_up("usage: device_bench <jpeg> <repeats>");
  DeviceOptions options;
  options.jpeg_library = Parts::library_path();
  const DeviceFacts facts = look_for_device(options);
  if (!facts.problem.empty() || !facts.jpeg_problem.empty()) {
    std::fprintf(stderr, "device_bench: %s\n",
                 (facts.problem.empty() ? facts.jpeg_problem : facts.problem).c_str());
    return kNoDevice;
  }
  std::ifstream file(argv[1], std::ios::binary);
  const Bytes jpeg((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  const int repeats = std::max(1, std::atoi(argv[2]));
  Parts parts(jpeg);
  parts.measure(repeats);
  parts.compare();
  parts.share(argv[0]);
  whole_path(jpeg, repeats);
  return 0;
}

}  // namespace
}  // namespace floodgate

int main(int argc, char** argv) { return floodgate::run(argc, argv); }
