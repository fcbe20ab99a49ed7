"""Templates for mailboxes: what comes out of them, and one clear sentence for each mistake in them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailmove.archive.parts import Part
from mailmove.errors import UsageError
from mailmove.jobs import ReplayJob
from mailmove.jobs.placement import Placement, Template, addresses, placement_of, together
from mailmove.targets import SPECIAL_USES

MOMENT = datetime(2024, 2, 29, 12, tzinfo=UTC)
TARGET = "imaps://me@new.example@imap.new.example"


def job(**options: Any) -> ReplayJob:
    given: dict[str, Any] = {"target": TARGET, "target_name": "imap://x", "archive": Path("a.mailmove")}
    return ReplayJob(**given | options)


def placed(template: str, maildrop: str = "old", date: datetime = MOMENT) -> str:
    return Placement(Template.parse("--mailbox", template)).of(date, maildrop, "")


# ---- what comes out


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("INBOX", "INBOX"),
        ("Archive/{year}", "Archive/2024"),
        ("Archive/{year}/{month}", "Archive/2024/02"),
        ("{year}-{month} of {maildrop}", "2024-02 of old"),
        ("{{year}}", "{year}"),
        ("{{{year}}}", "{2024}"),
        ("{{5+}}", "{5+}"),
        ("a}}b{{c", "a}b{c"),
        (r"\Archive", r"\Archive"),
        (r"\Archive/{year}", r"\Archive/2024"),
        (r"back\slash", r"back\slash"),
        ("Büro & Post", "Büro & Post"),
        ("100%*", "100%*"),
    ],
)
def test_a_template_and_what_it_gives(template: str, wanted: str) -> None:
    assert placed(template) == wanted


@pytest.mark.parametrize(
    ("date", "wanted"),
    [
        (datetime(2024, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), "2023/12"),
        (datetime(2023, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-1))), "2024/01"),
        (datetime(999, 5, 6, tzinfo=UTC), "0999/05"),
    ],
)
def test_year_and_month_are_of_utc(date: datetime, wanted: str) -> None:
    assert placed("{year}/{month}", date=date) == wanted


@pytest.mark.parametrize(
    ("maildrop", "wanted"),
    [
        ("me@gmx.de@pop.gmx.net", "me@gmx_de@pop_gmx_net"),
        ("Büro-2+x", "Büro-2+x"),
        ("a/b", "a_b"),
        ("a\r\nx1 DELETE INBOX", "a x1 DELETE INBOX"),
        ("tab\there\x00\x7f\x1b", "tab here___"),
        ("  two  blanks ", "two blanks"),
        ("\ud800", "_"),
        ("", "_"),
        ("{year}", "_year_"),
        ("\\Sent", "_Sent"),
    ],
)
def test_a_maildrop_becomes_a_part_of_one_level(maildrop: str, wanted: str) -> None:
    assert placed("{maildrop}", maildrop) == wanted


@given(st.text(), st.sampled_from(["{maildrop}", "Pulled/{maildrop}", "{maildrop}/{year}", r"\Sent/{maildrop}"]))
def test_no_value_adds_a_level_or_is_taken_for_what_a_person_wrote(maildrop: str, template: str) -> None:
    wanted = placed(template, maildrop)
    assert wanted.count("/") == template.count("/") and wanted.isprintable() and all(wanted.split("/"))
    assert wanted.startswith("\\") == template.startswith("\\")
    assert not set(wanted.removeprefix("\\Sent")) & set(".\\^|#~:;!$%&*\"'()[]{}<>")


def test_the_same_message_belongs_in_the_same_mailbox_whatever_the_year_is_now() -> None:
    """A date of tomorrow, which a clock that is ahead may give, is not moved: else it would move again next year."""
    assert placed("{year}", date=datetime(2999, 1, 1, tzinfo=UTC)) == "2999"


def test_a_placement_without_fields_is_known_beforehand() -> None:
    for name in ("INBOX", "A/{{x}}", r"\Archive"):
        assert placement_of(job(mailbox=name), ["old"]).only == placed(name)
    assert placement_of(job(mailbox="{year}"), ["old"]).only is None
    assert placement_of(job(sent_to="Sent"), ["old"]).only is None


# ---- mistakes


MISTAKES = [
    ("{yaer}", "there is no {yaer}; did you mean {year}?"),
    ("{Year}", "did you mean {year}?"),
    ("{ year }", "did you mean {year}?"),
    ("{mailbox}", "did you mean {maildrop}?"),
    ("{months}", "did you mean {month}?"),
    ("{year:02}", "did you mean {year}?"),
    ("{subject}", "there is no {subject} (there are {year}, {month}, {maildrop}; {{ and }} for braces)"),
    ("{}", "there is no {}"),
    ("{0.__class__}", "there is no {0.__class__}"),
    ("{year", "a { stands alone; write {{ for a brace"),
    ("year}", "a } stands alone; write }} for a brace"),
    ("a//b", "a level without a name"),
    ("/a", "a level without a name"),
    ("a/", "a level without a name"),
    (" ", "a level without a name"),
    (r"\Archiv", r"\Archiv is no special use; did you mean \Archive?"),
    (r"\SENT", r"did you mean \Sent?"),
    (r"\Spam", r"\Spam is no special use"),
    (r"\{maildrop}", "is no special use"),
    (r"Old/\Sent", "can only be the first level"),
    ("", "mailbox name is empty, or holds a line break"),
    ("a\r\nx1 DELETE INBOX", "mailbox name is empty, or holds a line break"),
    ("a\x1fb", "mailbox name is empty, or holds a line break"),
    ("\udcff", "mailbox name is empty, or holds a line break"),
]


@pytest.mark.parametrize(
    ("option", "template", "said"),
    [("mailbox", *mistake) for mistake in MISTAKES] + [("sent_to", *mistake) for mistake in MISTAKES if mistake[0]],
)
def test_a_mistake_in_a_template_is_one_sentence_before_anything_is_done(option: str, template: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        job(**{option: template})
    assert said in caught.value.message and caught.value.message.startswith("--" + option.replace("_", "-"))
    assert caught.value.message.endswith((".", "?")) and caught.value.message.isprintable()


@given(st.text())
def test_any_text_is_a_template_or_a_usage_error(text: str) -> None:
    try:
        template = Template.parse("--mailbox", text)
    except UsageError:
        return
    wanted = template.name({"year": "2024", "month": "02", "maildrop": "old"})
    assert wanted.isprintable() and all(wanted.split("/"))


def test_every_special_use_can_be_wanted() -> None:
    assert [placed(use) for use in SPECIAL_USES] == list(SPECIAL_USES)


# ---- mail from oneself


@pytest.mark.parametrize(
    ("sender", "found"),
    [
        ("Me <me@new.example>", ["me@new.example"]),
        ("ME@New.Example", ["me@new.example"]),
        ("me@new.example (Me)", ["me@new.example"]),
        ("Müller, Hans <hans@x.example>", ["hans@x.example"]),
        ('"me@new.example" <other@x.example>', ["other@x.example"]),
        ('"<me@new.example>" <other@x.example>', ["other@x.example"]),
        ('"an \\" <me@new.example>" <other@x.example>', ["other@x.example"]),
        ("me@new.example <other@x.example>", ["other@x.example"]),
        ("A <a@x.example>, B <b@x.example>", ["a@x.example", "b@x.example"]),
        ("a@x.example, b@x.example", ["a@x.example", "b@x.example"]),
        ("nobody", []),
        ("", []),
        ("<>", []),
    ],
)
def test_the_addresses_of_a_sender(sender: str, found: list[str]) -> None:
    assert addresses(sender) == found


def where(sender: str, *maildrops: str, **options: Any) -> str:
    placement = placement_of(job(**{"mailbox": "In/{year}", "sent_to": r"\Sent"} | options), maildrops)
    return placement.of(MOMENT, "old", sender)


@pytest.mark.parametrize(
    ("sender", "wanted"),
    [
        ("Me <me@new.example>", r"\Sent"),
        ("ME@GMX.DE", r"\Sent"),
        ("Me <alias@old.example>", r"\Sent"),
        ("You <you@new.example>", "In/2024"),
        ("me", "In/2024"),
        ("x@old.example", "In/2024"),
        ("notme@new.example", "In/2024"),
        ("", "In/2024"),
    ],
)
def test_mail_from_oneself_goes_elsewhere(sender: str, wanted: str) -> None:
    """By the target's user, the maildrops' users, and what was given; a user that is no address tells nothing."""
    maildrops = ("me@gmx.de@pop.gmx.net:9995", "x@old.example")
    assert where(sender, *maildrops, own_addresses=("Alias@Old.Example",)) == wanted


def test_a_user_of_a_url_may_be_written_with_percents() -> None:
    assert where("me+x@new.example", target="imap://me%2Bx%40new.example@imap.new.example:143") == r"\Sent"


def test_sent_mail_may_have_a_template_of_its_own() -> None:
    assert where("me@new.example", sent_to="Sent/{year}/{month}") == "Sent/2024/02"


def test_without_any_address_of_oneself_nothing_is_guessed() -> None:
    with pytest.raises(UsageError, match="--own-address ME@EXAMPLE"):
        placement_of(job(target="imaps://me@new.example", sent_to=r"\Sent"), ["me@old.example"])
    placement_of(job(target="imaps://me@new.example"), ["me@old.example"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"own_addresses": ("me@x.example",)}, "give --sent-to NAME"),
        ({"own_addresses": ("me",), "sent_to": "Sent"}, "'me' is no e-mail address"),
        ({"own_addresses": ("Me <me@x.example>",), "sent_to": "Sent"}, "is no e-mail address"),
        ({"own_addresses": ("me@x.example\n",), "sent_to": "Sent"}, "is no e-mail address"),
        ({"labels": ("",)}, "--label: the label is empty"),
        ({"labels": ("a\r\nb",)}, "or holds a line break"),
        ({"labels": ("ok", r"\Stared")}, r"did you mean \Starred?"),
        ({"labels": (r"\Trash",)}, r"--label '\Trash' is no label of Gmail's own that can be given"),
    ],
)
def test_other_mistakes_about_places(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        job(**options)
    assert said in caught.value.message and caught.value.message.isprintable()


# ---- several wanted names, one mailbox


def test_wanted_names_that_are_one_mailbox_at_the_target_come_together() -> None:
    parts = [Part(1, "Archive"), Part(2, "Old"), Part(3, r"\Archive"), Part(4, "inbox")]
    names = {"Archive": "Archive", r"\Archive": "Archive", "inbox": "INBOX", "Old": "Old"}
    assert together(parts, names.__getitem__) == {"Archive": (1, 3), "Old": (2,), "INBOX": (4,)}
