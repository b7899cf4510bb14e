"""``python -m benchmarks COMMAND``: runs one of the commands below."""

import importlib
import sys

COMMANDS = {
    "http": "HTTP servers under wrk, CPU time per request beside a C floor",
    "loop": "event loops: callbacks, timers, tasks, descriptors, echoes",
    "streams": "streams: lines, echoes, bulk, TLS, idle connections, accepts",
    "websocket": "WebSocket servers: echoes, a fan-out, memory, beside a C floor",
    "coroutine": "coroutines: yields and awaits, futures, queues and locks",
    "web": "pages of an application on pyfastloop and Tornado, CPU time per request",
    "client": "HTTP clients against nginx, CPU time per fetch",
    "article": "the founding article's ab run, synchronous against asynchronous",
}


def main() -> int:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name not in COMMANDS:
        print("usage: python -m benchmarks COMMAND [--help | options]\n")
        for command, what in COMMANDS.items():
            print(f"  {command:<11} {what}")
        return 0 if name in ("-h", "--help") else 2
    module = "http_bench" if name == "http" else name
    main_of_command = importlib.import_module(f"benchmarks.{module}").main
    return int(main_of_command(sys.argv[2:]) or 0)


if __name__ == "__main__":
    sys.exit(main())
