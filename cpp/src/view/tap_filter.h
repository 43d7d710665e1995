// One axis of a resize, ready to run: a kernel's weights packed for the processor's instruction set.
//
// RowFilter is the horizontal pass over four rows at once, ColumnFilter the vertical pass over any number of
// rows. Memory: both own their packed weights and, for the rows in hand, scratch. Thread rule: one thread
// each. Refused: nothing. REQUIRES: a kernel of at least one output pixel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernel.h"
#include "passes.h"

namespace floodgate {

// Bytes aligned as the passes want them, zeroed. Throws std::bad_alloc.
class AlignedBytes {
 public:
  explicit AlignedBytes(std::size_t size);
  [[nodiscard]] std::uint8_t* data() const { return bytes_.get(); }

 private:
  struct Free {
    void operator()(std::uint8_t* bytes) const;
  };
  std::unique_ptr<std::uint8_t[], Free> bytes_;
};

class RowFilter {
 public:
  RowFilter(const PassFunctions& functions, const Kernel& kernel);

  // The input pixels that it reads: [first, first + pixels).
  [[nodiscard]] std::int32_t first() const { return first_; }
  [[nodiscard]] std::int32_t pixels() const { return pixels_; }

  // rows[r]: kRowsAtOnce rows of RGB from input pixel first() on, no slack needed; out[r]: 3 bytes for each
  // output pixel and kPadBytes of slack.
  void apply(const std::uint8_t* const* rows, std::uint8_t* const* out);

 private:
  const PassFunctions& functions_;
  std::int32_t first_ = 0;
  std::int32_t pixels_ = 0;
  std::size_t length_ = 0;
  std::size_t groups_ = 0;  // quads that each output pixel reads
  std::vector<std::uint32_t> first_quad_;
  std::vector<std::uint8_t> weights_;
  AlignedBytes quads_;
};

class ColumnFilter {
 public:
  ColumnFilter(const PassFunctions& functions, Kernel kernel);

  [[nodiscard]] std::int32_t length() const { return kernel_.length(); }
  [[nodiscard]] std::int32_t max_count() const { return kernel_.max_count(); }
  // The input rows of output row i; neither end goes down as i goes up.
  [[nodiscard]] Taps taps(std::int32_t i) const { return kernel_.taps(i); }

  // Output row i from `rows`, which holds taps(i).count rows of `bytes` samples and kPadBytes of slack; `out`
  // likewise.
  void apply(std::int32_t i, std::vector<const std::uint8_t*>& rows, std::size_t bytes,
             std::uint8_t* out) const;

 private:
  const PassFunctions& functions_;
  const Kernel kernel_;
  std::vector<std::size_t> starts_;  // of each output row's weights
  std::vector<std::uint8_t> weights_;
};

}  // namespace floodgate
