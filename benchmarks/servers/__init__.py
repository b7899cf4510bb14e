"""The contestants' programs: ``python -m benchmarks.servers.NAME PORT DIR``.

DIR holds ``1m.bin``, the file of the static row. Each program serves the paths of
``benchmarks.http_rows`` in the way its own documentation recommends.
"""
