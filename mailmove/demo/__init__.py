"""What stands behind `mailmove demo`: generated mail, a POP3 server and an IMAP server, all in this process.

Strategy: two servers that know nothing of the rest of mailmove (`background.LoopbackServer` is what they share) and a
mailbox made from a seed. They listen on 127.0.0.1 only, on ports the system chose, keep everything in memory, print
nothing, and are gone with their `with` block:

    mailbox = list(generate(300))
    with Pop3Server({"anna": ("secret", mailbox)}, cut_after=120) as pop3, ImapServer("anna", "other") as imap:
        ... pop3.port, imap.port ...
"""

from __future__ import annotations

from mailmove.demo.background import HOST, LoopbackServer
from mailmove.demo.imap_server import ImapServer
from mailmove.demo.messages import DemoMessage, generate
from mailmove.demo.pop3_server import Pop3Server

__all__ = ["HOST", "DemoMessage", "ImapServer", "LoopbackServer", "Pop3Server", "generate"]
