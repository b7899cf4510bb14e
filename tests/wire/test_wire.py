"""Every case of the *.md files beside, in every way it can be cut; see runner.py."""

from __future__ import annotations

import logging

import pytest
from runner import Case, cases, run_case

import pyfastloop


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_wire(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    pyfastloop.run(run_case(case))
