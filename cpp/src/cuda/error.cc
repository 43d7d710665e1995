#include "error.h"

namespace floodgate::cuda {

Status status_of(Runtime& runtime, int error, const std::string& doing) {
  const char* reason = runtime.explain(error);
  return {error == kMemoryAllocation ? Code::kOverloaded : Code::kUnavailable,
          "CUDA: " + doing + ": " + (reason != nullptr ? reason : "unknown error") + " (error " +
              std::to_string(error) + ")"};
}

}  // namespace floodgate::cuda
