"""Benchmarks: every figure that the README gives is printed by a command here.

``python -m benchmarks --help`` lists them. They share three habits: a thing is checked
before it is timed, rounds of all contestants are interleaved so that a noisy machine is
noisy for everybody, and the result is a ratio of paired rounds beside the CPU time,
because absolute figures of shared machines are weather.
"""
