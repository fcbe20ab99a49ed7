"""The rows of the quirk matrix, by what goes wrong (played by tests/hostile/test_matrix.py)."""

from __future__ import annotations

from tests.hostile.matrix import at_once, bodies, drops, lies, refusals, uidl

SCENARIOS = [
    *uidl.SCENARIOS,
    *bodies.SCENARIOS,
    *drops.SCENARIOS,
    *lies.SCENARIOS,
    *refusals.SCENARIOS,
    *at_once.SCENARIOS,
]
