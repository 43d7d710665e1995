// floodgate._core: the table of contents. Each bind_* lives in the file of the same name.
#include <pybind11/pybind11.h>

#include "status.h"

namespace floodgate {
void bind_acceptor(pybind11::module_& m);
void bind_device(pybind11::module_& m);
void bind_media(pybind11::module_& m);
void bind_rpc(pybind11::module_& m);
void bind_scheduler(pybind11::module_& m);
}  // namespace floodgate

PYBIND11_MODULE(_core, m) {
  m.doc() =
      "Floodgate's compiled core: probe, decode, views, arena, buffers, the batch scheduler and gRPC's "
      "framing.";
  floodgate::bind_status(m);
  floodgate::bind_device(m);
  floodgate::bind_media(m);
  floodgate::bind_scheduler(m);
  floodgate::bind_acceptor(m);
  floodgate::bind_rpc(m);
}
