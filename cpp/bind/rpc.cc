// Both ends of a gRPC connection for Python: shims only. Messages are put together in Python's own bytes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "arguments.h"
#include "floodgate/rpc_caller.h"
#include "floodgate/rpc_session.h"
#include "status.h"

namespace py = pybind11;

namespace floodgate {
namespace {

// Thread rule: the GIL is held.
class BytesMessage final : public RpcMessage {
 public:
  explicit BytesMessage(py::bytes bytes) : bytes_(std::move(bytes)) {}
  std::span<std::uint8_t> bytes() override {
    return {reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(bytes_.ptr())),
            static_cast<std::size_t>(PyBytes_GET_SIZE(bytes_.ptr()))};
  }
  py::bytes take() { return std::move(bytes_); }

 private:
  py::bytes bytes_;
};

std::unique_ptr<RpcMessage> make_message(std::size_t size) {
  PyObject* made = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(size));
  if (made == nullptr) {
    PyErr_Clear();
    return nullptr;
  }
  return std::make_unique<BytesMessage>(py::reinterpret_steal<py::bytes>(made));
}

// What a stranger wrote: any bytes.
py::str text(const std::string& raw) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(raw.data(), static_cast<Py_ssize_t>(raw.size()), "replace"));
}

// Kinds are plain numbers: some three a call are looked at.
py::tuple tuple_of(RpcEvent& event) {
  const int kind = static_cast<int>(event.kind);
  switch (event.kind) {
    case RpcEventKind::kCall:
      return py::make_tuple(kind, event.call, text(event.head->method), text(event.head->path),
                            text(event.head->content_type), text(event.head->timeout),
                            text(event.head->encoding));
    case RpcEventKind::kMessage:
      return py::make_tuple(kind, event.call, static_cast<BytesMessage&>(*event.message).take(),
                            event.compressed);
    case RpcEventKind::kFault:
      return py::make_tuple(kind, event.call, std::string(code_name(event.fault.code())),
                            event.fault.message());
    default:
      return py::make_tuple(kind, event.call);
  }
}

py::list events_of(RpcSession& session) {
  py::list events;
  for (RpcEvent& event : session.take_events()) events.append(tuple_of(event));
  return events;
}

template <typename End>
void receive(End& end, const py::buffer& data, std::size_t size) {
  const py::buffer_info info = data.request();
  const auto bytes = bytes_of(info);
  if (size > bytes.size()) raise_status({Code::kInvalidArgument, "size is beyond the buffer"});
  raise_if_error(end.receive(bytes.first(size)));
}

std::span<const std::uint8_t> bytes_in(const py::bytes& message) {
  return {reinterpret_cast<const std::uint8_t*>(PyBytes_AS_STRING(message.ptr())),
          static_cast<std::size_t>(PyBytes_GET_SIZE(message.ptr()))};
}

py::list answers_of(RpcCaller& caller) {
  py::list answers;
  for (RpcAnswer& answer : caller.take_answers()) {
    py::object message = py::none();
    if (answer.message) message = static_cast<BytesMessage&>(*answer.message).take();
    answers.append(py::make_tuple(answer.call, std::move(message), text(answer.http_status),
                                  text(answer.status), text(answer.text),
                                  std::string(code_name(answer.fault.code())), answer.fault.message()));
  }
  return answers;
}

void bind_caller(py::module_& m) {
  py::class_<RpcCaller>(m, "RpcCaller", "A gRPC client's connection for unary calls, without its socket.")
      .def(py::init([](std::string authority, std::uint32_t message_bytes) {
             return value_or_raise(RpcCaller::create(std::move(authority), message_bytes, make_message));
           }),
           py::kw_only(), py::arg("authority"), py::arg("message_bytes"))
      .def(
          "call",
          [](RpcCaller& caller, const std::string& path, const py::bytes& message) {
            return value_or_raise(caller.call(path, bytes_in(message)));
          },
          py::arg("path"), py::arg("message"))
      .def("cancel", &RpcCaller::cancel, py::arg("call"))
      .def("receive", &receive<RpcCaller>, py::arg("data"), py::arg("size"))
      .def("answers", &answers_of)
      .def("output", [](RpcCaller& caller) { return py::bytes(caller.output()); })
      .def_property_readonly("over", &RpcCaller::over);
}

}  // namespace

void bind_rpc(py::module_& m) {
  py::class_<RpcBudget, std::shared_ptr<RpcBudget>>(m, "RpcBudget",
                                                    "Of the messages that are being received.")
      .def(py::init<std::size_t>(), py::arg("bytes"))
      .def_property_readonly("used", &RpcBudget::used);
  py::class_<RpcSession> bound(m, "RpcSession", "One connection of a gRPC server, without its socket.");
  bound.attr("CALL") = static_cast<int>(RpcEventKind::kCall);
  bound.attr("MESSAGE") = static_cast<int>(RpcEventKind::kMessage);
  bound.attr("END") = static_cast<int>(RpcEventKind::kEnd);
  bound.attr("FAULT") = static_cast<int>(RpcEventKind::kFault);
  bound.attr("CLOSED") = static_cast<int>(RpcEventKind::kClosed);
  bound
      .def(py::init([](std::shared_ptr<RpcBudget> budget, std::uint32_t message_bytes,
                       std::uint32_t header_bytes, std::uint32_t calls) {
             return value_or_raise(
                 RpcSession::create({message_bytes, header_bytes, calls, std::move(budget)}, make_message));
           }),
           py::arg("budget"), py::kw_only(), py::arg("message_bytes"), py::arg("header_bytes"),
           py::arg("calls"))
      .def("receive", &receive<RpcSession>, py::arg("data"), py::arg("size"))
      .def("events", &events_of)
      .def("taken", &RpcSession::taken, py::arg("call"))
      .def(
          "send",
          [](RpcSession& session, std::int32_t call, const py::bytes& message) {
            session.send(call, bytes_in(message));
          },
          py::arg("call"), py::arg("message"))
      .def("finish", &RpcSession::finish, py::arg("call"), py::arg("trailers"), py::arg("status") = "200")
      .def("reset", &RpcSession::reset, py::arg("call"))
      .def("stalled", &RpcSession::stalled)
      .def("unsent", &RpcSession::unsent, py::arg("call"))
      .def("output", [](RpcSession& session) { return py::bytes(session.output()); })
      .def("go_away", &RpcSession::go_away)
      .def_property_readonly("over", &RpcSession::over)
      .def_property_readonly("calls", &RpcSession::calls);
  bind_caller(m);
}

}  // namespace floodgate
