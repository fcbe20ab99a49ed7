"""mailmove: mailbox migration and backup. See CONTRIBUTING.md for the map of the house."""

__version__ = "0.1.0"
