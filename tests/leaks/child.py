"""Runs one scenario many times in this process and prints, as JSON, what grew.

    python tests/leaks/child.py SCENARIO REPEATS

After a warm-up the scenario is repeated in four equal parts, and each part reports the
growth of: memory blocks of CPython's allocator, bytes in use in the C heap, references
to each type of _core, open descriptors, and resident memory. What is filled once (a
cache, a free list, a table that doubles) grows in one part, a leak in all of them: the
least growth of the three is what is printed.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import json
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import scenarios

from pyfastloop import _core

WARM_UP = 40
PARTS = 4
TYPES = {n: t for n, t in vars(_core).items() if isinstance(t, type)}


class Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2


def figures() -> dict[str, int]:
    for _ in range(3):
        gc.collect()
    heap = libc.mallinfo2()
    found = {
        "blocks": sys.getallocatedblocks(),
        "heap": heap.uordblks + heap.hblkhd,
        "descriptors": len(os.listdir("/proc/self/fd")),
        "resident": int(Path("/proc/self/statm").read_text().split()[1]) * 4096,
    }
    for name, kind in TYPES.items():
        found[f"references to {name}"] = sys.getrefcount(kind)
    return found


def main() -> None:
    name, repeats = sys.argv[1], int(sys.argv[2])
    # Errors that a scenario provokes are logged; the records must not be kept.
    logging.disable(logging.CRITICAL)
    scenario = scenarios.SCENARIOS[name]
    with scenario() as once:
        for _ in range(WARM_UP):
            once()
        figures()
        seen = [figures()]
        for _ in range(PARTS):
            for _ in range(repeats):
                once()
            seen.append(figures())
    grew = {
        key: min(b[key] - a[key] for a, b in itertools.pairwise(seen))
        for key in seen[0]
    }
    print(json.dumps(grew))


if __name__ == "__main__":
    main()
