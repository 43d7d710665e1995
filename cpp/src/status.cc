#include "floodgate/status.h"

namespace floodgate {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kOk:
      return "OK";
    case Code::kInvalidContent:
      return "INVALID_CONTENT";
    case Code::kUnsupported:
      return "UNSUPPORTED";
    case Code::kTooLarge:
      return "TOO_LARGE";
    case Code::kInvalidArgument:
      return "INVALID_ARGUMENT";
    case Code::kOverloaded:
      return "OVERLOADED";
    case Code::kDeadlineExceeded:
      return "DEADLINE_EXCEEDED";
    case Code::kCancelled:
      return "CANCELLED";
    case Code::kUnavailable:
      return "UNAVAILABLE";
    case Code::kInternal:
      return "INTERNAL";
  }
  return "INTERNAL";
}

}  // namespace floodgate
