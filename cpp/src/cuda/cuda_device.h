// The Device of floodgate/device.h on a CUDA runtime and a JPEG library.
//
// Each stream has a thread; it takes what waits, up to what its pool holds, as one batch, while the others'
// batches are under way. So batches grow by themselves when pictures come faster than they are done. Thread
// rule: any thread; the destructor waits for what is under way. Refused: see open_device().
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "device_state.h"
#include "floodgate/device.h"
#include "jpeg_decoder.h"
#include "picture_stream.h"

namespace floodgate::cuda {

class CudaDevice final : public Device {
 public:
  // Errors: as open_device().
  static Result<std::shared_ptr<Device>> open(Runtime& runtime, std::unique_ptr<JpegLibrary> library,
                                              const DeviceOptions& options);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  [[nodiscard]] bool takes(const MediaInfo& info) const override;
  Status render(std::span<const std::uint8_t> encoded, const MediaInfo& info,
                std::span<const DeviceRow> rows) override;
  std::shared_ptr<DeviceRegion> mirror(std::span<std::uint8_t> host) override;
  [[nodiscard]] DeviceStats stats() const override { return state_->stats(); }
  [[nodiscard]] const DeviceFacts& facts() const override { return facts_; }
  void count_staged(std::uint64_t rows) override { state_->count_staged(rows); }
  // Pictures that no stream has taken yet.
  [[nodiscard]] std::size_t waiting() const;

 private:
  // A request in the queue.
  struct Waiting {
    PictureRequest request;
    std::size_t bytes = 0;
    bool done = false;
  };

  CudaDevice(Runtime& runtime, std::unique_ptr<JpegLibrary> library, const DeviceOptions& options);
  Status start();
  void work(PictureStream& stream);
  std::vector<Waiting*> take_batch_locked();

  const DeviceOptions options_;
  const std::size_t pool_bytes_;  // of one stream
  const std::shared_ptr<DeviceState> state_;
  const std::unique_ptr<JpegLibrary> library_;
  DeviceFacts facts_;  // constant once started
  std::vector<std::unique_ptr<PictureStream>> streams_;

  mutable std::mutex mu_;
  std::condition_variable work_cv_;  // something waits, or `stopping_` was set
  std::condition_variable done_cv_;  // a batch is done
  // Guarded by mu_.
  bool stopping_ = false;
  std::deque<Waiting*> queue_;

  // Started last, joined first.
  std::vector<std::thread> threads_;
};

// As look_for_device() and open_device(), on the given runtime (null: built without CUDA).
DeviceFacts look_for_device(Runtime* runtime, const DeviceOptions& options);

}  // namespace floodgate::cuda
