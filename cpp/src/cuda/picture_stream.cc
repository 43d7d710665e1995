#include "picture_stream.h"

#include <utility>

namespace floodgate::cuda {
namespace {

constexpr std::size_t kAlignment = 256;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

std::size_t pitch_of(const MediaInfo& info) { return aligned(std::size_t{3} * info.width); }
std::size_t surface_bytes(const MediaInfo& info) { return pitch_of(info) * info.height; }

Status refused() { return {Code::kUnsupported, "nvJPEG does not decode this JPEG"}; }

}  // namespace

struct PictureStream::Item {
  PictureRequest* request;
  std::uint8_t* surface = nullptr;
  std::vector<std::uint8_t*> rows;  // device
};

std::size_t pool_bytes(const PictureRequest& request) {
  std::size_t bytes = surface_bytes(request.info);
  for (const DeviceRow& row : request.rows) {
    if (row.region == nullptr) bytes += aligned(row.row.size());
  }
  return bytes;
}

Status PictureStream::open(std::size_t bytes, JpegLibrary& library) {
  if (Status opened = stream_.open(); !opened.ok()) return opened;
  if (Status taken = pool_.reserve(bytes); !taken.ok()) return taken;
  auto decoder = library.make_decoder();
  if (!decoder.ok()) return decoder.status();
  decoder_ = std::move(decoder).value();
  return {};
}

void PictureStream::run(std::span<PictureRequest* const> requests) {
  std::vector<Item> items;
  std::size_t used = 0;
  const auto take = [&](std::size_t bytes) {
    std::uint8_t* const at = pool_.data() + used;
    used += aligned(bytes);
    return at;
  };
  for (PictureRequest* request : requests) {
    request->status = {};
    request->fallback.reset();
    Item item{request, take(surface_bytes(request->info)), {}};
    for (const DeviceRow& row : request->rows) {
      item.rows.push_back(row.region != nullptr ? row.region->address() + row.offset : take(row.row.size()));
    }
    items.push_back(std::move(item));
  }
  const Status status = run_batch(items);
  std::uint64_t done = 0;
  for (const Item& item : items) {
    PictureRequest& request = *item.request;
    if (request.status.ok() && !status.ok()) {
      request.status = status;
      request.fallback = state_.lost() ? DeviceFallback::kLost : DeviceFallback::kNoMemory;
    }
    if (request.status.ok()) ++done;
    if (request.fallback) state_.count(*request.fallback);
  }
  if (done > 0) state_.count_batch(done);
}

Status PictureStream::run_batch(std::vector<Item>& items) {
  decode(items);
  Status status = state_.lost() ? Status(Code::kUnavailable, state_.stats().problem) : render(items);
  if (status.ok()) status = fetch(items);
  // Whatever happened, nothing may still be reading the callers' bytes or writing their rows.
  Status waited = state_.check(state_.runtime().wait(stream_.get()), "waiting for a batch");
  return status.ok() ? waited : status;
}

void PictureStream::decode(std::vector<Item>& items) {
  std::vector<JpegPicture> pictures;
  pictures.reserve(items.size());
  for (const Item& item : items) {
    const PictureRequest& request = *item.request;
    pictures.push_back(
        {request.encoded, request.info.width, request.info.height, item.surface, pitch_of(request.info)});
  }
  decoder_->decode(pictures, stream_.get());
  for (std::size_t i = 0; i < items.size(); ++i) {
    PictureRequest& request = *items[i].request;
    switch (pictures[i].outcome) {
      case JpegOutcome::kDecoded:
        break;
      case JpegOutcome::kRefused:
        request.status = refused();
        request.fallback = DeviceFallback::kRefused;
        break;
      case JpegOutcome::kNoMemory:
        request.status = {Code::kOverloaded, "nvJPEG found no memory"};
        request.fallback = DeviceFallback::kNoMemory;
        break;
      case JpegOutcome::kFailed:
        // Errors of the device stay with it, and the runtime tells of them at every call.
        request.status =
            state_.check(state_.runtime().wait(stream_.get()), "waiting for nvJPEG, which failed");
        if (request.status.ok()) request.status = refused();
        request.fallback = state_.lost() ? DeviceFallback::kLost : DeviceFallback::kRefused;
        break;
    }
  }
}

Status PictureStream::render(std::vector<Item>& items) {
  ViewTable table;
  for (const Item& item : items) {
    PictureRequest& request = *item.request;
    if (!request.status.ok()) continue;
    Surface surface;
    surface.shape = {request.info.width, request.info.height, request.info.orientation};
    surface.pixels = item.surface;
    surface.pitch = pitch_of(request.info);
    std::vector<DeviceTarget> targets;
    for (std::size_t i = 0; i < item.rows.size(); ++i) {
      targets.push_back({request.rows[i].view, item.rows[i]});
    }
    request.status = table.add(surface, targets);
    if (!request.status.ok()) request.fallback = DeviceFallback::kRefused;
  }
  if (table.empty()) return {};
  const std::size_t bytes = table.size_bytes();
  if (Status got = host_table_.reserve(bytes); !got.ok()) return got;
  if (Status got = device_table_.reserve(bytes); !got.ok()) return got;
  table.write({host_table_.data(), bytes});
  Runtime& runtime = state_.runtime();
  const int copied = runtime.copy(device_table_.data(), host_table_.data(), bytes, stream_.get());
  if (copied != kSuccess) return state_.check(copied, "copying the tap lists");
  return state_.check(runtime.launch(device_table_.data(), table.layout(), stream_.get()),
                      "launching the view kernel");
}

Status PictureStream::fetch(const std::vector<Item>& items) {
  for (const Item& item : items) {
    if (!item.request->status.ok()) continue;
    for (std::size_t i = 0; i < item.rows.size(); ++i) {
      const std::span<std::uint8_t> row = item.request->rows[i].row;
      const int error = state_.runtime().copy(row.data(), item.rows[i], row.size(), stream_.get());
      if (error != kSuccess) return state_.check(error, "copying a row to the host");
    }
  }
  return {};
}

}  // namespace floodgate::cuda
