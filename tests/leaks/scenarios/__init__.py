"""Create, use and drop: one scenario for each life that an object of _core can have.

What a scenario makes before its first turn and after its last is not counted.
"""

from __future__ import annotations

from scenarios import clients, coroutines, http, loops, streams, transports
from scenarios.base import SCENARIOS

__all__ = [
    "SCENARIOS",
    "USES",
    "clients",
    "coroutines",
    "http",
    "loops",
    "streams",
    "transports",
]

# Where each type of _core is made, used and dropped.
USES = {
    "Acceptor": "transport_echo",
    "AccessLog": "access_log",
    "BaseIOStream": "stream_subclass",
    "ClientLink": "client_pooled",
    "ConnectionPool": "client_of_its_own",
    "ConditionBase": "events_told",
    "CoroutineFunction": "coroutine_function",
    "DatagramMethods": "datagrams",
    "DatagramTransport": "datagrams",
    "EventBase": "events_told",
    "Exchange": "client_cancelled",
    "FetchFuture": "client_cancelled",
    "Future": "future_result",
    "FutureIter": "coroutine_waits",
    "FutureMeta": "future_isinstance",
    "GenFuture": "coroutine_waits",
    "HTTP1Connection": "http_plain",
    "HTTP1ConnectionParameters": "http_plain",
    "HTTP1ServerConnection": "http_plain",
    "HTTPClientMethods": "client_pooled",
    "HTTPHeaders": "headers",
    "HTTPRequestBase": "client_pooled",
    "HTTPServerRequest": "request_alone",
    "Handle": "handles",
    "IOLoopBase": "ioloop",
    "IOStream": "stream_echo",
    "Listener": "listener",
    "Loop": "loop",
    "OpenFile": "static_file",
    "Outgoing": "client_pooled",
    "Permits": "locks_handed_over",
    "PipeIOStream": "pipes",
    "QueueBase": "queue_handed_over",
    "ReadPipeTransport": "pipe_transports",
    "RequestHandlerBase": "http_plain",
    "SSLIOStream": "tls",
    "SockMethods": "sock_calls",
    "Task": "coroutine_waits",
    "TimerHandle": "timers",
    "Transport": "transport_echo",
    "TransportMethods": "transport_echo",
    "Watch": "add_handler",
    "WebSocketHandlerBase": "websocket_echo",
    "WebSocketLink": "websocket_echo",
    "WritePipeTransport": "pipe_transports",
}
