// The programs behind sandboxed decode workers (see floodgate/decode_worker.h). The server starts
// them; by hand they only say so.
#include <sys/socket.h>
#include <unistd.h>

#include <string_view>

#include "decoder.h"

int main() {
  int kind = 0;
  socklen_t length = sizeof kind;
  if (getsockopt(floodgate::sandbox::kControlDescriptor, SOL_SOCKET, SO_TYPE, &kind, &length) != 0 ||
      kind != SOCK_SEQPACKET) {
    constexpr std::string_view kUsage = "Decoders are started by the Floodgate server.\n";
    return write(STDERR_FILENO, kUsage.data(), kUsage.size()) < 0 ? 1 : 2;
  }
  return floodgate::decoder::run_zygote(floodgate::sandbox::kControlDescriptor);
}
