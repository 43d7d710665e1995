// Replaces the C library's iconv_open() in this program: no conversion is known.
//
// FFmpeg converts the names of stations in transport streams, and glibc would load a module from disk for
// each character set; a worker may open nothing. FFmpeg takes such names as they are when there is no
// conversion, and nobody here reads them.
#include <iconv.h>

#include <cerrno>

extern "C" __attribute__((visibility("default"))) iconv_t iconv_open(const char*, const char*) {
  errno = EINVAL;
  return reinterpret_cast<iconv_t>(-1);  // NOLINT(performance-no-int-to-ptr): what POSIX says it returns
}
