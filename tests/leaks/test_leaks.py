"""What is created, used and dropped many times leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
REPEATS = 400

sys.path.insert(0, str(HERE))
from scenarios import SCENARIOS, USES  # noqa: E402

# How much each figure may grow in REPEATS turns. One object or one block of the heap a
# turn would be REPEATS blocks, or 32 bytes (malloc's least) for each. What comes and
# goes by itself is up to 210 blocks (a connection that ends a little later), in 400
# turns as in 1,200, and 10 KB under OpenSSL.
ALLOWED = {
    "blocks": REPEATS * 3 // 4,
    "heap": 28 * REPEATS,
    "descriptors": 0,
    "resident": 1 << 20,
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_nothing_grows(name: str) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "child.py"), name, str(REPEATS)],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stderr
    grew = json.loads(done.stdout)
    too_much = {key: by for key, by in grew.items() if by > ALLOWED.get(key, 5)}
    assert too_much == {}, f"in {REPEATS} turns: {grew}"


def test_every_type_of_the_core_has_a_scenario() -> None:
    from pyfastloop import _core

    types = {n for n, value in vars(_core).items() if isinstance(value, type)}
    assert types - set(USES) == set()
    assert {s for s in USES.values() if s not in SCENARIOS} == set()
