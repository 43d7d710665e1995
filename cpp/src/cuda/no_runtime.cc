// Stands in for runtime.cu where there is no CUDA toolkit.
#include "runtime.h"

#ifndef FLOODGATE_HAS_CUDA
namespace floodgate::cuda {

Runtime* cuda_runtime() { return nullptr; }

}  // namespace floodgate::cuda
#endif
