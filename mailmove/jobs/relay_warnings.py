"""What a person should know before mail goes to an SMTP or LMTP server, from what the server says of itself. Pure.

Strategy: only what mailmove cannot see afterwards, since no reply tells of it. Cyrus names itself in its greeting, and
by default says 250 to a message whose Message-ID, Date and recipient it has had by LMTP before, and drops it
(imapd.conf(5), `duplicatesuppression`; it remembers them for days, by what cyr_expire is told). That is measured with
Cyrus 3.6, too: tests/servers/test_replay_lmtp_cyrus.py.
"""

from __future__ import annotations

from mailmove.targets import RelayTraits

CYRUS = "cyrus lmtp"
DROPS = (
    "This is Cyrus. By default it drops a message of a Message-ID and Date that the recipient has had by LMTP in the"
    " last days, and says 250 all the same; `duplicatesuppression: no` in its imapd.conf ends that, or deliver by IMAP."
)
SHARING = " {:,} of the selected messages share both with another one: of each such group it keeps the first."


def relay_warnings(traits: RelayTraits, sharing: int = 0) -> list[str]:
    """One text for each thing to know before messages are sent; most often none.

    `sharing`: how many of the selected messages have Message-ID and Date of another one (merging_query.sharing).
    """
    if not traits.lmtp or CYRUS not in traits.greeting.lower():
        return []
    return [DROPS + (SHARING.format(sharing) if sharing else "")]
