// A library with nvJPEG's functions that answers what a test says. `fake_nvjpeg` is its one variable.
#pragma once

#include <atomic>

namespace floodgate::testing {

struct FakeNvjpeg {
  std::atomic<int> with_flags{0};     // nvJPEG's status of a handle that is to know flags
  std::atomic<int> without_flags{0};  // and of one that is not
  std::atomic<int> hardware{0};       // of any for the card's own decoders
  std::atomic<int> batch{0};          // of decoding several pictures together
  std::atomic<int> single{0};         // of decoding one that is not `bad`
  std::atomic<unsigned char> bad{0};  // first byte of pictures that fail by themselves, with kExecutionFailed
  std::atomic<int> singles{0};        // pictures that were decoded by themselves
};

}  // namespace floodgate::testing
