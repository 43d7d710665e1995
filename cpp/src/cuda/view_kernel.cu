#include <cuda_runtime_api.h>

#include "view_launch.h"

namespace floodgate::cuda {
namespace {

__global__ void __launch_bounds__(kThreads)
    render_views(const ViewJob* __restrict__ jobs, const Tile* __restrict__ tiles,
                 const std::int32_t* __restrict__ tables) {
  __shared__ std::uint32_t mid[kMidWords];
  const Tile tile = tiles[blockIdx.x];
  const ViewJob& job = jobs[tile.job];
  const int thread = static_cast<int>(threadIdx.x);
  if (tile.padding) return pad(job, tile, thread);
  Sums sums;
  clear(sums);
  for (std::int32_t line = tile.begin; line < tile.end; line += kLines) {
    first_pass(job, tile, tables, line, thread, mid);
    __syncthreads();
    second_pass(job, tile, tables, line, thread, mid, sums);
    __syncthreads();
  }
  store(job, tile, thread, sums);
}

}  // namespace

int launch_views(const std::uint8_t* table, const TableLayout& layout, void* stream) {
  (void)cudaGetLastError();  // an earlier call's, which has been dealt with
  render_views<<<layout.tile_count, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      reinterpret_cast<const ViewJob*>(table + layout.jobs),
      reinterpret_cast<const Tile*>(table + layout.tiles),
      reinterpret_cast<const std::int32_t*>(table + layout.tables));
  return cudaGetLastError();
}

}  // namespace floodgate::cuda
