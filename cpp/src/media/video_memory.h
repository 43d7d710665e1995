// Encoded bytes in memory as what FFmpeg reads from.
//
// Borrows the bytes, which must outlive it. Each operation is given a budget of bytes that it may have read
// to it, many times what an honest file needs, so that a file that sends its reader round in circles comes to
// an end: when the budget is spent, reading fails. Thread rule: one input, one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "floodgate/status.h"
#include "libav.h"

namespace floodgate {

class MemoryInput {
 public:
  // Errors: kOverloaded (no memory).
  static Result<std::unique_ptr<MemoryInput>> make(std::span<const std::uint8_t> data);
  ~MemoryInput();
  MemoryInput(const MemoryInput&) = delete;
  MemoryInput& operator=(const MemoryInput&) = delete;

  [[nodiscard]] AVIOContext* context() { return context_; }
  [[nodiscard]] std::span<const std::uint8_t> data() const { return data_; }
  // A new operation begins: its budget is whole again.
  void renew_budget();

 private:
  explicit MemoryInput(std::span<const std::uint8_t> data) : data_(data) { renew_budget(); }
  static int read(void* self, std::uint8_t* to, int bytes);
  static std::int64_t seek(void* self, std::int64_t offset, int whence);
  bool spend(std::uint64_t bytes);

  const std::span<const std::uint8_t> data_;
  std::uint64_t at_ = 0;
  std::uint64_t budget_ = 0;
  AVIOContext* context_ = nullptr;
};

}  // namespace floodgate
