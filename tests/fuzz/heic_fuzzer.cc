#include "checked_sink.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return floodgate::fuzzing::decode_if(floodgate::Format::kHeic, data, size);
}
