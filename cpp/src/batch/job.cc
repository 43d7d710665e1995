#include "floodgate/job.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace floodgate {
namespace {

bool inside(std::uint64_t offset, std::uint64_t bytes, std::uint64_t size) {
  return offset <= size && bytes <= size - offset;
}

Status outside() { return Status(Code::kInternal, "a decode job points outside its memory"); }

Status copy_text(std::span<const std::uint8_t> text, std::span<std::uint8_t> row, std::uint8_t* length) {
  if (text.size() > row.size()) return outside();
  std::copy(text.begin(), text.end(), row.begin());
  std::fill(row.begin() + static_cast<std::ptrdiff_t>(text.size()), row.end(), std::uint8_t{0});
  const auto bytes = static_cast<std::int32_t>(text.size());
  std::memcpy(length, &bytes, sizeof bytes);
  return {};
}

Status run(const DecodeJob& job, std::span<const std::uint8_t> arena,
           std::span<const std::span<std::uint8_t>> regions, const DecodeFn& decode) {
  if (!inside(job.input.offset, job.input.size, arena.size()) || job.target_count > kMaxTargets) {
    return outside();
  }
  const auto input = arena.subspan(job.input.offset, job.input.size);
  std::array<RenderTarget, kMaxTargets> rows;
  for (std::uint32_t i = 0; i < job.target_count; ++i) {
    const RowTarget& target = job.targets[i];
    if (target.region >= regions.size()) return outside();
    const auto region = regions[target.region];
    if (!inside(target.offset, target.bytes, region.size())) return outside();
    const auto row = region.subspan(target.offset, target.bytes);
    if (job.modality == Modality::kText) {
      if (!inside(target.length_offset, sizeof(std::int32_t), region.size())) return outside();
      if (Status copied = copy_text(input, row, region.data() + target.length_offset); !copied.ok())
        return copied;
    }
    rows[i] = {&target.view, row};
  }
  if (job.modality == Modality::kText) return {};
  return decode(input, job.info, job.limits, {rows.data(), job.target_count});
}

}  // namespace

Status decode_and_render(std::span<const std::uint8_t> encoded, const MediaInfo& info,
                         const MediaLimits& limits, std::span<const RenderTarget> targets) {
  const auto picture = decode(encoded, info, limits);
  if (!picture.ok()) return picture.status();
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const auto done = targets.first(i);
    const auto same = std::find_if(
        done.begin(), done.end(), [&](const RenderTarget& other) { return *other.view == *targets[i].view; });
    if (same != done.end() && same->row.size() == targets[i].row.size()) {
      std::copy(same->row.begin(), same->row.end(), targets[i].row.begin());
      continue;
    }
    Status rendered = render_view(picture.value(), *targets[i].view, targets[i].row);
    if (!rendered.ok()) return rendered;
  }
  return {};
}

DecodeResult run_decode_job(const DecodeJob& job, std::span<const std::uint8_t> arena,
                            std::span<const std::span<std::uint8_t>> regions, const DecodeFn& decode) {
  const Nanos start = monotonic_now();
  const Nanos cpu_start = thread_cpu_now();
  const Status status = run(job, arena, regions, decode);
  DecodeResult result;
  result.code = status.code();
  const std::size_t kept = std::min(status.message().size(), kMaxFailureText - 1);
  std::memcpy(result.message, status.message().data(), kept);
  result.decode_ns = monotonic_now() - start;
  result.cpu_ns = thread_cpu_now() - cpu_start;
  return result;
}

}  // namespace floodgate
