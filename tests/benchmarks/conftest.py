"""Prints what `test_speed.py` measured as one table: ours, DEODR's on the same mesh in the same run, and their ratio."""

import pytest

from tests.benchmarks.measured import MEASURED


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    if not MEASURED:
        return
    terminalreporter.section("fitkit beside DEODR, medians in ms")
    for scene in dict.fromkeys(scene for scene, _ in MEASURED):
        ours, theirs = MEASURED.get((scene, "fitkit")), MEASURED.get((scene, "deodr"))
        if ours and theirs:
            terminalreporter.write_line(f"{scene:42s} fitkit {ours:7.2f}   DEODR {theirs:7.2f}   ratio {ours / theirs:5.2f}")
