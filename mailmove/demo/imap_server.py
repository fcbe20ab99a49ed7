"""The demo's IMAP server: pymap with its mailboxes in memory, in a thread of this process.

Strategy: pymap is an extra, so it is imported only when a server starts; all that knows its insides is in
`pymap_backend`. Everything else is `background`'s.
"""

from __future__ import annotations

from mailmove.demo.background import Handler, LoopbackServer
from mailmove.errors import ConfigurationError


class ImapServer(LoopbackServer):
    """One user with an empty INBOX; plaintext, as loopback allows. It forgets everything when it stops.

    `start` raises ConfigurationError where pymap is not installed.
    """

    def __init__(self, user: str, password: str) -> None:
        super().__init__()
        self._user, self._password = user, password

    async def prepare(self) -> Handler:
        try:
            from mailmove.demo.pymap_backend import connections
        except ImportError as error:
            raise ConfigurationError("The demo needs its extra: pip install 'mailmove[demo]'") from error
        return await connections(self._user, self._password)
