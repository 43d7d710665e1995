// One view from a stream of RGB rows: resized, turned and written as the rows come.
//
// Holds the rows that the vertical pass still needs, which is the longest tap list and three more: as
// filtered by the horizontal pass where that goes first, else as stored. Memory: the output row is the
// caller's; all else is allocated on construction, which may throw std::bad_alloc. Thread rule: one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "floodgate/view.h"
#include "stored_plan.h"
#include "tap_filter.h"
#include "view_writer.h"

namespace floodgate {

class ViewStream {
 public:
  ViewStream(const ImageView& view, StoredPlan plan, std::span<std::uint8_t> out);

  // Starts the next picture of the same shape.
  void restart();

  // Rows y .. y + count - 1 of the stored picture, RGB, `stride` bytes apart. They come in order, without
  // gaps.
  void rows(std::int32_t y, std::int32_t count, const std::uint8_t* rgb, std::size_t stride);

  // What it reads of the stored picture; empty where only padding shows.
  [[nodiscard]] Roi roi() const;

 private:
  // At most kRowsAtOnce rows that the view reads.
  void take(std::int32_t y, std::int32_t count, const std::uint8_t* rgb, std::size_t stride);
  void take_columns_first(std::int32_t y, std::int32_t count, const std::uint8_t* rgb, std::size_t stride);
  void take_rows_first(std::int32_t y, std::int32_t count, const std::uint8_t* rgb, std::size_t stride);
  // The vertical pass of the next output row, if every row that it needs is there.
  bool next_row(std::int32_t rows_there, std::uint8_t* out);
  // The horizontal pass over `count` rows that the vertical one made.
  void finish_rows(std::int32_t count);

  [[nodiscard]] std::uint8_t* held(std::int32_t y) const {
    return ring_.data() + ring_stride_ * static_cast<std::size_t>(y % ring_rows_);
  }
  [[nodiscard]] std::uint8_t* made(std::size_t i) const { return made_.data() + made_stride_ * i; }

  ViewWriter writer_;
  std::optional<RowFilter> row_filter_;
  std::optional<ColumnFilter> column_filter_;
  const bool rows_first_;
  // What is read of the stored picture.
  std::size_t first_byte_ = 0;  // of a row
  std::size_t read_bytes_ = 0;
  std::int32_t first_row_ = 0;
  std::int32_t end_row_ = 0;
  std::size_t wide_bytes_ = 0;  // of a row after the horizontal pass

  std::int32_t ring_rows_;
  std::size_t ring_stride_;
  AlignedBytes ring_;  // rows between the passes, or before the first
  std::size_t made_stride_;
  AlignedBytes made_;      // kRowsAtOnce rows on their way
  AlignedBytes finished_;  // kRowsAtOnce rows ready to be written
  std::vector<const std::uint8_t*> taps_;

  std::int32_t next_out_ = 0;  // output row that the vertical pass makes next
};

}  // namespace floodgate
