"""A gRPC server on the event loop's own thread.

``grpc.aio`` hands every request through several threads of its own, with a wake-up each; on cores that models keep busy
that costs more than all else the door does. Here the loop reads the socket, the core's ``RpcSession`` (nghttp2) makes
calls of it, and the answer is written in the same turn. What gRPC asks of a server beyond HTTP/2 is in this package:
timeouts, status trailers, message encodings, cancellation, going away in order.

    server     listens and hangs up; handlers by method      connection  a socket's bytes to calls and back
    call       one call, as its handler sees it               metadata    what travels in headers and trailers
"""

from floodgate.wire.rpc.call import Aborted, Call, CallOver
from floodgate.wire.rpc.server import RpcServer

__all__ = ["Aborted", "Call", "CallOver", "RpcServer"]
