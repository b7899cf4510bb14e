"""distributed: a scheduler and two workers compute, each with its nanny."""

from __future__ import annotations

import signal

from needed import needs

pytestmark = needs("distributed")


CLIENT = """
import pyfastloop.as_tornado  # the other way: as a first line

import sys

from distributed import Client


def home_of_tornado():
    import tornado.tcpserver

    return tornado.tcpserver.TCPServer.__module__.partition(".")[0]


def main():
    with Client(sys.argv[1], timeout=60) as client:
        client.wait_for_workers(2, timeout=60)
        squares = client.map(lambda x: x * x, range(100))
        print("sum", client.submit(sum, squares).result(timeout=60))
        homes = [client.run_on_scheduler(home_of_tornado)]
        homes += client.run(home_of_tornado).values()
        print("homes", *homes)
        # 20 MB from one worker to the other, by their own streams.
        one, other = client.scheduler_info()["workers"]
        large = client.submit(bytes, 20_000_000, workers=[one])
        length = client.submit(len, large, workers=[other]).result(timeout=60)
        print("length", length)


if __name__ == "__main__":
    main()
"""


def test_a_scheduler_and_two_workers_compute(programs):
    command = ["-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    command += ["--port", "0", "--dashboard-address", "127.0.0.1:0"]
    scheduler = programs.as_tornado(*command)
    address = scheduler.wait_for(r"Scheduler at: +(tcp://\S+)")[1]
    command = ["-m", "distributed.cli.dask_worker", address, "--nthreads", "1"]
    command += ["--no-dashboard", "--local-directory", str(programs.folder)]
    workers = [programs.as_tornado(*command) for _ in range(2)]
    programs.write("client.py", CLIENT)
    client = programs.python("client.py", address)
    client.wait_for("^sum 328350$")
    client.wait_for("^homes pyfastloop pyfastloop pyfastloop$")
    client.wait_for("^length 20000000$")
    assert client.process.wait(60) == 0
    # A heartbeat that is under way when its worker closes cannot be ended well.
    programs.pardoned.append("Failed to communicate with scheduler during heartbeat.")
    for worker in workers:
        # The nanny closes its worker. One that retires races with the nanny's watch of
        # it, on Tornado too, and that can end in a traceback.
        assert worker.stop(signal.SIGTERM) == 0
    assert scheduler.stop(signal.SIGINT) == 0
