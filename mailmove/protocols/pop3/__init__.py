"""POP3 without input or output (RFC 1939, 2449, 2595, 3206, 5034).

Strategy: a `Connection` is used by four verbs only, and never does anything by itself:

    send(command)       a command joins the queue, or LocalProtocolError says why it may not
    data_to_send()      the octets to write to the server now
    receive_data(data)  the octets the server sent; b"" says that it sent its last
    next_event()        what they mean, one event at a time, or NEED_DATA

Each module owns one question: `commands` and `login_commands` what we may say, `events` what we may hear, `framing`
where a reply ends, `replies` and `listings` what its text says, `states` what is allowed when, `window` how much may be
in flight, `transcript` what a log is told.
"""

from __future__ import annotations

from mailmove.protocols.pop3.commands import (
    Capa,
    Command,
    Dele,
    List,
    Noop,
    Quit,
    ReplyKind,
    Retr,
    Rset,
    Stat,
    Stls,
    Top,
    Uidl,
)
from mailmove.protocols.pop3.connection import Connection
from mailmove.protocols.pop3.events import (
    NEED_DATA,
    Accepted,
    CapabilityList,
    Challenge,
    Closed,
    Event,
    Greeting,
    MaildropStatus,
    MessageData,
    MessageEnd,
    MessageStart,
    NeedData,
    Refused,
    ScanListing,
    UniqueIdListing,
)
from mailmove.protocols.pop3.framing import MAX_LINE, MAX_LISTING
from mailmove.protocols.pop3.listings import joined
from mailmove.protocols.pop3.login_commands import Apop, Auth, AuthCancel, AuthResponse, Pass, User, apop_digest
from mailmove.protocols.pop3.states import State
from mailmove.protocols.pop3.transcript import TranscribedConnection
from mailmove.protocols.pop3.window import Window

__all__ = [
    "MAX_LINE",
    "MAX_LISTING",
    "NEED_DATA",
    "Accepted",
    "Apop",
    "Auth",
    "AuthCancel",
    "AuthResponse",
    "Capa",
    "CapabilityList",
    "Challenge",
    "Closed",
    "Dele",
    "Command",
    "Connection",
    "Event",
    "Greeting",
    "List",
    "MaildropStatus",
    "MessageData",
    "MessageEnd",
    "MessageStart",
    "NeedData",
    "Noop",
    "Pass",
    "Quit",
    "Refused",
    "ReplyKind",
    "Retr",
    "Rset",
    "ScanListing",
    "Stat",
    "State",
    "Stls",
    "Top",
    "TranscribedConnection",
    "Uidl",
    "UniqueIdListing",
    "User",
    "Window",
    "apop_digest",
    "joined",
]
