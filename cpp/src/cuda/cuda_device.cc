#include "cuda_device.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <exception>
#include <utility>

#include "device_region.h"
#include "floodgate/clock.h"

namespace floodgate::cuda {
namespace {

constexpr std::uint32_t kMaxStreams = 8;
constexpr std::uint32_t kMostInABatch = 1024;
constexpr std::uint64_t kLeastMemory = 1 << 20;

Status invalid(const char* what) { return {Code::kInvalidArgument, what}; }

Status check(const DeviceOptions& options) {
  if (options.ordinal < 0) return invalid("device ordinal must be at least 0");
  if (options.streams < 1 || options.streams > kMaxStreams)
    return invalid("device streams must be from 1 to 8");
  if (options.max_batch < 1 || options.max_batch > kMostInABatch) {
    return invalid("device max_batch must be from 1 to 1024");
  }
  if (options.memory_bytes < kLeastMemory * options.streams) {
    return invalid("device memory_bytes must be at least 1 MiB a stream");
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<Device>> CudaDevice::open(Runtime& runtime, std::unique_ptr<JpegLibrary> library,
                                                 const DeviceOptions& options) {
  if (Status checked = check(options); !checked.ok()) return checked;
  std::shared_ptr<CudaDevice> device(new CudaDevice(runtime, std::move(library), options));
  if (Status started = device->start(); !started.ok()) return started;
  return std::shared_ptr<Device>(std::move(device));
}

CudaDevice::CudaDevice(Runtime& runtime, std::unique_ptr<JpegLibrary> library, const DeviceOptions& options)
    : options_(options),
      pool_bytes_(options.memory_bytes / options.streams),
      state_(std::make_shared<DeviceState>(runtime, options.ordinal)),
      library_(std::move(library)),
      facts_(look_for_device(&runtime, options)) {}

Status CudaDevice::start() {
  if (Status used = state_->check(state_->runtime().use(options_.ordinal), "choosing the device");
      !used.ok()) {
    return used;
  }
  for (std::uint32_t i = 0; i < options_.streams; ++i) {
    streams_.push_back(std::make_unique<PictureStream>(*state_));
    if (Status opened = streams_.back()->open(pool_bytes_, *library_); !opened.ok()) {
      return {Code::kUnavailable, opened.message()};
    }
  }
  // Decoders have been made: the library knows what it is.
  facts_.jpeg = library_->version();
  // Signals are for the threads of whoever embeds the core.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Status started;
  try {
    for (const auto& stream : streams_) {
      threads_.emplace_back([this, &stream] { work(*stream); });
      (void)pthread_setname_np(threads_.back().native_handle(), "fg-device");
    }
  } catch (const std::exception& error) {
    started = {Code::kUnavailable, std::string("cannot start the device's threads: ") + error.what()};
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

CudaDevice::~CudaDevice() {
  {
    const std::lock_guard lock(mu_);
    stopping_ = true;
  }
  work_cv_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  (void)state_->runtime().use(options_.ordinal);
}

bool CudaDevice::takes(const MediaInfo& info) const {
  return !state_->lost() && info.format == Format::kJpeg && !info.progressive && !info.is_sequence() &&
         info.width > 0 && info.height > 0;
}

Status CudaDevice::render(std::span<const std::uint8_t> encoded, const MediaInfo& info,
                          std::span<const DeviceRow> rows) {
  if (!suits_device(encoded)) {
    state_->count(DeviceFallback::kRefused);
    return {Code::kUnsupported, "nvJPEG does not decode this JPEG"};
  }
  Waiting waiting;
  waiting.request.encoded = encoded;
  waiting.request.info = info;
  waiting.request.rows = rows;
  waiting.bytes = cuda::pool_bytes(waiting.request);
  if (waiting.bytes > pool_bytes_) {
    state_->count(DeviceFallback::kTooLarge);
    return {Code::kTooLarge, "the picture needs more memory than is set aside on the device"};
  }
  std::unique_lock lock(mu_);
  queue_.push_back(&waiting);
  work_cv_.notify_one();
  done_cv_.wait(lock, [&] { return waiting.done; });
  return waiting.request.status;
}

std::size_t CudaDevice::waiting() const {
  const std::lock_guard lock(mu_);
  return queue_.size();
}

std::vector<CudaDevice::Waiting*> CudaDevice::take_batch_locked() {
  std::vector<Waiting*> batch;
  std::size_t bytes = 0;
  while (!queue_.empty() && batch.size() < options_.max_batch &&
         bytes + queue_.front()->bytes <= pool_bytes_) {
    bytes += queue_.front()->bytes;
    batch.push_back(queue_.front());
    queue_.pop_front();
  }
  return batch;
}

void CudaDevice::work(PictureStream& stream) {
  (void)state_->check(state_->runtime().use(options_.ordinal), "choosing the device");
  std::unique_lock lock(mu_);
  for (;;) {
    work_cv_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    const std::vector<Waiting*> batch = take_batch_locked();
    lock.unlock();
    std::vector<PictureRequest*> requests;
    requests.reserve(batch.size());
    for (Waiting* waiting : batch) requests.push_back(&waiting->request);
    const Nanos began = monotonic_now();
    stream.run(requests);
    state_->count_busy(monotonic_now() - began);
    lock.lock();
    for (Waiting* waiting : batch) waiting->done = true;
    done_cv_.notify_all();
  }
}

std::shared_ptr<DeviceRegion> CudaDevice::mirror(std::span<std::uint8_t> host) {
  if (state_->lost()) return nullptr;
  if (!state_->check(state_->runtime().use(options_.ordinal), "choosing the device").ok()) return nullptr;
  auto region = MirrorRegion::create(state_, host);
  if (region.ok()) return std::move(region).value();
  state_->count(state_->lost() ? DeviceFallback::kLost : DeviceFallback::kNoMemory);
  return nullptr;
}

}  // namespace floodgate::cuda
