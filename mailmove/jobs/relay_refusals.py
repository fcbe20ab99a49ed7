"""Why an SMTP or LMTP server refuses a message, from its reply alone (design.md section 7).

Strategy: pure. Enhanced status codes come first (RFC 3463), since they are made to be read by programs; where there is
none, or one that says little, known phrases decide, and at last the reply code. A cause is one word or two, the same as
on IMAP where it means the same; where `--repair` can help, it is its word for it.
"""

from __future__ import annotations

import re

from mailmove.model import Reply

_BY_STATUS = (
    ("size", r"5\.3\.4|5\.2\.3"),
    ("no-such-user", r"5\.1\.[0123]|5\.1\.6|5\.1\.10"),
    ("mailbox-disabled", r"5\.2\.1"),
    ("quota", r"5\.2\.2"),
    ("sender", r"5\.1\.[78]"),
    ("loop", r"5\.4\.6"),
    ("smtputf8", r"5\.6\.7"),
)
"""(cause, status codes of RFC 3463, 5336 and 7505 that say it whatever the words are)."""

_BY_WORDS = (
    ("virus", r"virus|malware|infected|trojan"),
    ("spam", r"\bspam|junk|bulk mail|unsolicited|blacklist|blocklist|block list|reputation"),
    ("size", r"too (large|big)|message (is )?too long|(message|size) (limit|exceeds)|exceed\w* .*size|max\w* .*\bsize"),
    ("quota", r"quota|(mailbox|storage|disk) (is |was )?full|insufficient \w*\s*storage"),
    ("duplicate", r"duplicate"),
    ("nul", r"\bNULs?\b|\bnull (byte|char|octet)"),
    ("bare-newlines", r"(bare|lone|naked|stray) <?(newline|lf|cr|line ?feed|carriage)"),
    ("long-lines", r"lines? (is |are )?(too long|longer)|(too|overly) long lines?|line length|long lines?|\b998\b"),
    ("8bit-headers", r"(non-(us-)?ascii|8.?bit|unencoded) .*header|header.* (non-(us-)?ascii|8.?bit|unencoded)"),
    ("loop", r"too many hops|hop ?count|mail loop|loops? back|routing loop"),
    ("relay-denied", r"relay(ing)? (access )?(is )?(denied|not (permitted|allowed))|unable to relay|we do not relay"),
    ("no-such-user", r"(no such|unknown|invalid|non-?existent) (local )?(user|recipient|mailbox|address)|user unknown"),
    (
        "no-such-user",
        r"(user|recipient|mailbox|address) .{0,60}(unknown|not found|(does not|doesn't) exist|unavailable)",
    ),
    ("sender", r"sender .{0,60}(rejected|denied|refused|not (allowed|owned))|not owned by user|send ?as denied"),
    ("header", r"header"),
)
"""(cause, phrase), the first that is found counts."""

_BY_CODE = {552: "size", 551: "no-such-user"}
_POLICY = re.compile(r"5\.7\.\d+")
_TOO_MANY = re.compile(r"too many (recipients|rcpts?)|recipient limit|recipients? (limit )?exceeded", re.IGNORECASE)


def cause_of(reply: Reply) -> str:
    """Why a message was refused for good: "size", "no-such-user", "policy" …, or "refused" if nothing tells."""
    for cause, statuses in _BY_STATUS:
        if re.fullmatch(statuses, reply.enhanced):
            return cause
    for cause, phrase in _BY_WORDS:
        if re.search(phrase, reply.text, re.IGNORECASE):
            return cause
    if _POLICY.fullmatch(reply.enhanced):
        return "policy"
    return _BY_CODE.get(reply.code, "refused")


def is_too_many(reply: Reply) -> bool:
    """Whether a recipient only came too late in a transaction, and can have one of its own.

    RFC 5321 section 4.5.3.1.10, which asks to take 552 for 452, since old servers say that.
    """
    if reply.code not in (452, 552):
        return False
    return reply.enhanced in ("4.5.3", "5.5.3") or _TOO_MANY.search(reply.text) is not None
