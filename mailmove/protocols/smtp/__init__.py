"""SMTP and LMTP without input or output (RFC 5321, 1870, 2033, 2034, 2920, 3030, 6152, 6531).

Strategy: before there is mail to send, a `ReplyReader` makes replies of what a server says. Then a `Conversation` is
used by five verbs, and never does anything by itself:

    send(mails)         messages join the queue, or an error says why they may not
    data_to_send()      the octets to write to the server now
    sent(octets)        how many of them the network has taken
    receive_data(data)  the octets the server sent; b"" says that it sent its last
    next_event()        what became of one message, or NEED_DATA

Each module owns one question: `commands` what we may say, `content` how a message's octets go out, `replies` what we
hear, `course` what a reply means for each recipient, `speaker` what is said when, `conversation` what was heard,
`events` what is told, `text` how a server is quoted.
"""

from __future__ import annotations

from mailmove.protocols.smtp.commands import MAX_ADDRESS, Mail, Offers, check_address
from mailmove.protocols.smtp.conversation import GATHER, Conversation
from mailmove.protocols.smtp.events import NEED_DATA, NeedData, Outcome
from mailmove.protocols.smtp.replies import MAX_LINE, MAX_LINES, ReplyReader, ServerReply
from mailmove.protocols.smtp.speaker import LARGE
from mailmove.protocols.smtp.text import broken, quoted, readable

__all__ = [
    "GATHER",
    "LARGE",
    "MAX_ADDRESS",
    "MAX_LINE",
    "MAX_LINES",
    "NEED_DATA",
    "Conversation",
    "Mail",
    "NeedData",
    "Offers",
    "Outcome",
    "ReplyReader",
    "ServerReply",
    "broken",
    "check_address",
    "quoted",
    "readable",
]
