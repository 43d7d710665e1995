#include "view_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace floodgate {
namespace {

// Bytes from one row to the next, slack included.
std::size_t stride_of(std::size_t row_bytes) {
  return (row_bytes + 2 * kPadBytes - 1) / kPadBytes * kPadBytes;
}

std::size_t rgb_bytes(std::int32_t pixels) { return std::size_t{3} * static_cast<std::size_t>(pixels); }

std::size_t read_bytes_of(const StoredPlan& plan) {
  if (!plan.columns.kernel) return rgb_bytes(plan.columns.length);
  const Kernel& kernel = *plan.columns.kernel;
  std::int32_t first = kernel.taps(0).first;
  std::int32_t end = first;
  for (std::int32_t i = 0; i < kernel.length(); ++i) {
    first = std::min(first, kernel.taps(i).first);
    end = std::max(end, kernel.taps(i).first + kernel.taps(i).count);
  }
  return rgb_bytes(end - first);
}

// Rows of the longest tap list, and those that come with the last of them.
std::int32_t ring_rows_of(const StoredPlan& plan) {
  if (!plan.rows.kernel) return 1;
  return std::max(1, plan.rows.kernel->max_count()) + static_cast<std::int32_t>(kRowsAtOnce) - 1;
}

}  // namespace

ViewStream::ViewStream(const ImageView& view, StoredPlan plan, std::span<std::uint8_t> out)
    : writer_(view, plan, out),
      rows_first_(plan.rows_first),
      read_bytes_(read_bytes_of(plan)),
      wide_bytes_(rgb_bytes(plan.columns.length)),
      ring_rows_(ring_rows_of(plan)),
      ring_stride_(stride_of(rows_first_ ? read_bytes_ : wide_bytes_)),
      ring_(plan.rows.kernel ? ring_stride_ * static_cast<std::size_t>(ring_rows_) : 0),
      made_stride_(stride_of(std::max(read_bytes_, wide_bytes_))),
      made_(made_stride_ * kRowsAtOnce),
      finished_(stride_of(wide_bytes_) * kRowsAtOnce) {
  const PassFunctions& functions = pass_functions();
  first_row_ = plan.rows.from;
  end_row_ = plan.rows.from + plan.rows.length;
  first_byte_ = rgb_bytes(plan.columns.from);
  if (plan.columns.kernel) {
    row_filter_.emplace(functions, *plan.columns.kernel);
    first_byte_ = rgb_bytes(row_filter_->first());
  }
  if (plan.rows.kernel) {
    const Kernel& kernel = *plan.rows.kernel;
    const Taps last = kernel.taps(kernel.length() - 1);
    first_row_ = kernel.taps(0).first;
    end_row_ = last.first + last.count;
    taps_.reserve(static_cast<std::size_t>(kernel.max_count()) + kGroupTaps);
    column_filter_.emplace(functions, std::move(*plan.rows.kernel));
  }
  restart();
}

void ViewStream::restart() {
  next_out_ = 0;
  writer_.pad();
}

void ViewStream::rows(std::int32_t y, std::int32_t count, const std::uint8_t* rgb, std::size_t stride) {
  const std::int32_t begin = std::max(y, first_row_);
  const std::int32_t end = std::min(y + count, end_row_);
  for (std::int32_t row = begin; row < end; row += static_cast<std::int32_t>(kRowsAtOnce)) {
    take(row, std::min(static_cast<std::int32_t>(kRowsAtOnce), end - row),
         rgb + stride * static_cast<std::size_t>(row - y) + first_byte_, stride);
  }
}

Roi ViewStream::roi() const {
  const auto left = static_cast<std::uint32_t>(first_byte_ / 3);
  return {left, static_cast<std::uint32_t>(first_row_), left + static_cast<std::uint32_t>(read_bytes_ / 3),
          static_cast<std::uint32_t>(end_row_)};
}

void ViewStream::take(std::int32_t y, std::int32_t count, const std::uint8_t* rgb, std::size_t stride) {
  if (rows_first_) return take_rows_first(y, count, rgb, stride);
  if (row_filter_) return take_columns_first(y, count, rgb, stride);
  for (std::int32_t i = 0; i < count; ++i) {
    writer_.row(y + i - first_row_, rgb + stride * static_cast<std::size_t>(i));
  }
}

void ViewStream::take_columns_first(std::int32_t y, std::int32_t count, const std::uint8_t* rgb,
                                    std::size_t stride) {
  const std::uint8_t* from[kRowsAtOnce];
  std::uint8_t* to[kRowsAtOnce];
  for (std::size_t i = 0; i < kRowsAtOnce; ++i) {
    const auto row = static_cast<std::int32_t>(i);
    // Rows that are not there are the first one again, and lead nowhere.
    const bool there = row < count;
    from[i] = rgb + (there ? stride * i : 0);
    to[i] = there && column_filter_ ? held(y + row) : made(i);
  }
  row_filter_->apply(from, to);
  if (!column_filter_) {
    for (std::int32_t i = 0; i < count; ++i) writer_.row(y + i - first_row_, to[i]);
    return;
  }
  while (next_row(y + count, finished_.data())) writer_.row(next_out_ - 1, finished_.data());
}

void ViewStream::take_rows_first(std::int32_t y, std::int32_t count, const std::uint8_t* rgb,
                                 std::size_t stride) {
  for (std::int32_t i = 0; i < count; ++i) {
    std::memcpy(held(y + i), rgb + stride * static_cast<std::size_t>(i), read_bytes_);
  }
  constexpr auto kBatch = static_cast<std::int32_t>(kRowsAtOnce);
  const std::int32_t batch = row_filter_ ? kBatch : 1;
  while (next_row(y + count, made(static_cast<std::size_t>(next_out_ % batch)))) {
    if (next_out_ % batch == 0) {
      finish_rows(batch);
    } else if (next_out_ == column_filter_->length()) {
      finish_rows(next_out_ % batch);
    }
  }
}

bool ViewStream::next_row(std::int32_t rows_there, std::uint8_t* out) {
  if (next_out_ == column_filter_->length()) return false;
  const Taps taps = column_filter_->taps(next_out_);
  if (taps.first + taps.count > rows_there) return false;
  taps_.clear();
  for (std::int32_t i = 0; i < taps.count; ++i) taps_.push_back(held(taps.first + i));
  column_filter_->apply(next_out_, taps_, rows_first_ ? read_bytes_ : wide_bytes_, out);
  ++next_out_;
  return true;
}

void ViewStream::finish_rows(std::int32_t count) {
  const std::int32_t first = next_out_ - count;
  if (!row_filter_) return writer_.row(first, made(0));
  const std::size_t stride = stride_of(wide_bytes_);
  const std::uint8_t* from[kRowsAtOnce];
  std::uint8_t* to[kRowsAtOnce];
  for (std::size_t i = 0; i < kRowsAtOnce; ++i) {
    from[i] = made(i);
    to[i] = finished_.data() + stride * i;
  }
  row_filter_->apply(from, to);
  for (std::int32_t i = 0; i < count; ++i) writer_.row(first + i, to[i]);
}

}  // namespace floodgate
