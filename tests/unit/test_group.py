"""When a group is cut: what may be lost with it is at most one group, however far the disk is behind (P3)."""

from __future__ import annotations

from typing import cast

import pytest

from mailmove.archive import GroupLimits, Received
from mailmove.jobs.group import Group

LIMITS = GroupLimits(messages=8, octets=1000, seconds=1e9)


class Draft:
    def __init__(self, octets: int) -> None:
        self.octets = octets


class Item:
    def __init__(self, octets: int) -> None:
        self.draft = Draft(octets)


def filled(*octets: int) -> Group:
    group = Group(LIMITS)
    add(group, *octets)
    return group


def add(group: Group, *octets: int) -> None:
    for one in octets:
        group.add(cast("Received", Item(one)))


@pytest.mark.parametrize(("octets", "due"), [([1] * 7, False), ([1] * 8, True), ([999], False), ([1000], True)])
def test_due_by_number_or_octets(octets: list[int], due: bool) -> None:
    assert filled(*octets).due(settled=True) is due


@pytest.mark.parametrize(("taken", "more"), [([1] * 5, [1] * 3), ([600], [400])])
def test_what_is_on_its_way_counts_until_it_is_settled(taken: list[int], more: list[int]) -> None:
    group = filled(*taken)
    assert len(group.take()) == len(taken)
    add(group, *more[:-1])
    assert not group.due(settled=False)
    add(group, more[-1])
    assert group.due(settled=False) and not group.due(settled=True)


def test_an_empty_group_is_never_due() -> None:
    group = filled(*[1] * 8)
    group.take()
    assert not group.due(settled=False)


def test_due_by_age() -> None:
    group = Group(GroupLimits(messages=8, octets=1000, seconds=0.0))
    add(group, 1)
    assert group.due(settled=True)
