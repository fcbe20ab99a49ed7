"""Damage of older messages: never explained away, named by `verify` and `status`, and healed when received again.

Strategy: "older" is a message of a run that ended, so its user was told that it is stored. Its file goes bad while the
catalogue is lost or behind (only then does opening look at it), and the next pulls go on as if the server has it still.
"""

from __future__ import annotations

from pathlib import Path

from mailmove.archive import Archive
from tests.unit.archive.making import (
    HARMS,
    Harm,
    Mail,
    assert_sound,
    catalogue_left_behind,
    findings,
    kinds,
    pull,
    some,
    store,
    summary,
    unknown,
    verify,
)

OLD, NEW = some(3, seed=1), some(2, seed=2)


def delete(root: Path) -> None:
    (root / "archive.db").unlink()


def older_damage(root: Path, harm: Harm) -> Mail:
    """A message of an ended run whose file went bad while the catalogue was lost."""
    store(root, OLD[:2])
    store(root, OLD[2:])
    harm(OLD[0].file(root))
    delete(root)
    return OLD[0]


@HARMS
def test_an_older_record_is_never_voided_but_damaged(archive_dir: Path, harm: Harm) -> None:
    bad = older_damage(archive_dir, harm)
    with Archive.open(archive_dir) as archive:
        assert archive.recovered.voided == [] and archive.recovered.damaged == 1
    assert "void" not in kinds(archive_dir)
    found = summary(archive_dir)
    assert (found.messages, found.damaged, found.damaged_messages) == (3, 1, [bad.digest])


@HARMS
def test_verify_names_the_damaged_message(archive_dir: Path, harm: Harm) -> None:
    bad = older_damage(archive_dir, harm)
    kind = "missing" if harm is Path.unlink else "damaged"
    for _ in range(2):  # with and without a catalogue
        assert findings(archive_dir) == {(kind, bad.file(archive_dir).relative_to(archive_dir).as_posix())}
        assert verify(archive_dir).exit_code == 4 and verify(archive_dir).proven == 2
        Archive.open(archive_dir).close()


@HARMS
def test_a_damaged_message_is_fetched_again_and_healed(archive_dir: Path, harm: Harm) -> None:
    bad = older_damage(archive_dir, harm)
    assert pull(archive_dir, *OLD) == [bad.unique_id]
    assert summary(archive_dir).damaged == 0 and summary(archive_dir).maildrops[0]["places"] == 3
    assert_sound(archive_dir, *OLD)
    assert pull(archive_dir, *OLD) == []


@HARMS
def test_a_damaged_message_is_healed_by_any_entry_with_its_octets(archive_dir: Path, harm: Harm) -> None:
    bad = older_damage(archive_dir, harm)
    assert pull(archive_dir, Mail("elsewhere", bad.octets)) == ["elsewhere"]
    assert_sound(archive_dir, *OLD)
    assert unknown(archive_dir, *OLD) == []


def test_a_file_restored_by_hand_is_sound_again(archive_dir: Path) -> None:
    bad = older_damage(archive_dir, Path.unlink)
    assert unknown(archive_dir, *OLD) == [bad.unique_id]
    bad.file(archive_dir).write_bytes(bad.octets)
    assert unknown(archive_dir, *OLD) == []
    assert summary(archive_dir).damaged == 0
    assert_sound(archive_dir, *OLD)


def test_damage_in_a_run_that_ended_behind_the_catalogue_is_not_voided_either(archive_dir: Path) -> None:
    store(archive_dir, OLD)
    with catalogue_left_behind(archive_dir):
        store(archive_dir, NEW)
    NEW[0].file(archive_dir).unlink()
    assert unknown(archive_dir, *OLD, *NEW) == [NEW[0].unique_id]
    assert "void" not in kinds(archive_dir) and summary(archive_dir).damaged == 1
