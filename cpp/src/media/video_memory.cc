#include "video_memory.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

namespace floodgate {
namespace {

constexpr int kBufferBytes = 16 << 10;
// What a read or a seek costs at least, in bytes of budget.
constexpr std::uint64_t kCallCost = 256;
// Twelve times the data: a search for a key frame may go back to the start of the file several times.
constexpr std::uint64_t kBudgetTimes = 12;
constexpr std::uint64_t kBudgetBase = 64ULL << 20;

}  // namespace

Result<std::unique_ptr<MemoryInput>> MemoryInput::make(std::span<const std::uint8_t> data) {
  std::unique_ptr<MemoryInput> input(new (std::nothrow) MemoryInput(data));
  auto* const buffer = static_cast<unsigned char*>(av_malloc(kBufferBytes));
  if (input && buffer != nullptr) {
    input->context_ = avio_alloc_context(buffer, kBufferBytes, 0, input.get(), &read, nullptr, &seek);
  }
  if (!input || input->context_ == nullptr) {
    av_free(buffer);
    return Status(Code::kOverloaded, "there is no memory for reading the video");
  }
  return input;
}

MemoryInput::~MemoryInput() {
  if (context_ != nullptr) av_freep(&context_->buffer);
  avio_context_free(&context_);
}

void MemoryInput::renew_budget() { budget_ = kBudgetBase + kBudgetTimes * data_.size(); }

bool MemoryInput::spend(std::uint64_t bytes) {
  const std::uint64_t cost = std::max(bytes, kCallCost);
  if (cost > budget_) return false;
  budget_ -= cost;
  return true;
}

int MemoryInput::read(void* self, std::uint8_t* to, int bytes) {
  auto& input = *static_cast<MemoryInput*>(self);
  if (bytes <= 0) return AVERROR(EINVAL);
  if (input.at_ >= input.data_.size()) return AVERROR_EOF;
  const std::uint64_t count =
      std::min<std::uint64_t>(static_cast<std::uint64_t>(bytes), input.data_.size() - input.at_);
  // What a demuxer does with an error it does not know differs; at the end of the data all of them stop.
  if (!input.spend(count)) return AVERROR_EOF;
  std::memcpy(to, input.data_.data() + input.at_, count);
  input.at_ += count;
  return static_cast<int>(count);
}

std::int64_t MemoryInput::seek(void* self, std::int64_t offset, int whence) {
  auto& input = *static_cast<MemoryInput*>(self);
  const auto size = static_cast<std::int64_t>(input.data_.size());
  std::int64_t base = 0;
  switch (whence & ~AVSEEK_FORCE) {
    case AVSEEK_SIZE:
      return size;
    case SEEK_SET:
      break;
    case SEEK_CUR:
      base = static_cast<std::int64_t>(input.at_);
      break;
    case SEEK_END:
      base = size;
      break;
    default:
      return AVERROR(EINVAL);
  }
  if (!input.spend(0)) return AVERROR(EIO);
  if (offset > INT64_MAX - base || base + offset < 0) return AVERROR(EINVAL);
  input.at_ = static_cast<std::uint64_t>(base + offset);
  return base + offset;
}

}  // namespace floodgate
