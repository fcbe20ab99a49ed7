"""The catalogue's tables, as sqlite-utils migrations, oldest first.

Strategy: every table and its purpose is named for people who open archive.db with Datasette or sqlite-utils. Two kinds:
*projected* tables are made from mail/ and log/ alone and come out equal when rebuilt; *advice* tables only make the
next run nicer and may be lost. A migration is never edited once released; a change is a new one.
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

migrations = Migrations("mailmove-catalogue")

PROJECTED = (
    "messages",
    "maildrops",
    "places",
    "parked",
    "skips",
    "runs",
    "totals",
    "target_mailboxes",
    "deliveries",
)
"""Tables that a rebuild reproduces, compared by `verify`."""


@migrations()
def m001_messages_and_places(db: Database) -> None:
    db.executescript(
        """
        -- projected: one row a message file in mail/; headers decoded; record = number of its first log record
        CREATE TABLE messages (
            id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, octets INTEGER NOT NULL, message_id TEXT NOT NULL,
            date TEXT NOT NULL, subject TEXT NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL,
            headers_readable INTEGER NOT NULL, record INTEGER NOT NULL, damaged INTEGER NOT NULL DEFAULT 0);
        CREATE INDEX messages_message_id ON messages (message_id) WHERE message_id != '';
        CREATE INDEX messages_damaged ON messages (digest) WHERE damaged = 1;

        -- projected: mailboxes that were pulled, with counters that are maintained, never counted
        CREATE TABLE maildrops (
            id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, places INTEGER NOT NULL DEFAULT 0,
            octets INTEGER NOT NULL DEFAULT 0, suspects INTEGER NOT NULL DEFAULT 0, parked INTEGER NOT NULL DEFAULT 0,
            unreliable_sizes INTEGER NOT NULL DEFAULT 0);

        -- projected: where each message was found; record = number of its log record. mailbox, flags and keywords are
        -- for sources that have them (POP3 has none). counted = 0: the same listed entry received once more
        CREATE TABLE places (
            record INTEGER PRIMARY KEY, digest TEXT NOT NULL, maildrop INTEGER NOT NULL REFERENCES maildrops (id),
            unique_id TEXT NOT NULL, octets INTEGER NOT NULL, listed INTEGER NOT NULL, complete TEXT NOT NULL,
            identified_by TEXT NOT NULL, run TEXT NOT NULL, time TEXT NOT NULL, internal_date TEXT NOT NULL,
            internal_date_origin TEXT NOT NULL, mailbox TEXT, flags TEXT, keywords TEXT, counted INTEGER NOT NULL,
            settled INTEGER NOT NULL DEFAULT 0);
        CREATE INDEX places_unique_id ON places (maildrop, unique_id, listed);
        CREATE INDEX places_digest ON places (digest);
        CREATE INDEX places_suspect ON places (maildrop) WHERE complete = 'false' AND settled = 0;

        -- projected: messages the server refused to hand over, until they come in, go, or are settled
        CREATE TABLE parked (
            maildrop INTEGER NOT NULL, unique_id TEXT NOT NULL, listed INTEGER NOT NULL, cause TEXT NOT NULL,
            code TEXT NOT NULL, run TEXT NOT NULL, time TEXT NOT NULL, record INTEGER NOT NULL,
            PRIMARY KEY (maildrop, unique_id, listed)) WITHOUT ROWID;

        -- projected: what `mailmove skip` settled, by whom it was decided that a message is not needed
        CREATE TABLE skips (
            record INTEGER PRIMARY KEY, maildrop INTEGER NOT NULL, unique_id TEXT NOT NULL, listed INTEGER NOT NULL,
            digest TEXT NOT NULL, reason TEXT NOT NULL, time TEXT NOT NULL);
        CREATE INDEX skips_unique_id ON skips (maildrop, unique_id, listed);

        -- projected: every run that changed anything or ended; counts = the report's numbers as JSON
        CREATE TABLE runs (
            run TEXT PRIMARY KEY, job TEXT NOT NULL, maildrop TEXT NOT NULL, started TEXT NOT NULL,
            ended TEXT NOT NULL DEFAULT '', outcome TEXT NOT NULL DEFAULT '', counts TEXT NOT NULL DEFAULT '{}');

        -- projected: one row of counters over the whole archive
        CREATE TABLE totals (
            messages INTEGER NOT NULL, octets INTEGER NOT NULL, damaged INTEGER NOT NULL, voided INTEGER NOT NULL);
        INSERT INTO totals VALUES (0, 0, 0, 0);

        -- how far the log has been read into these tables: the last line's end, length and sha256
        CREATE TABLE position (
            records INTEGER NOT NULL, segment INTEGER NOT NULL, octets INTEGER NOT NULL, last_octets INTEGER NOT NULL,
            last_hash TEXT NOT NULL);
        INSERT INTO position VALUES (0, 1, 0, 0, '');
        CREATE TABLE segments (number INTEGER PRIMARY KEY, octets INTEGER NOT NULL);

        -- advice: the server's own words about a message, for the report
        CREATE TABLE server_texts (
            maildrop TEXT NOT NULL, unique_id TEXT NOT NULL, run TEXT NOT NULL, text TEXT NOT NULL,
            PRIMARY KEY (maildrop, unique_id)) WITHOUT ROWID;
        """
    )


@migrations()
def m002_deliveries(db: Database) -> None:
    db.executescript(
        """
        -- projected: mailboxes of targets that were delivered to, with counters that are maintained, never counted.
        -- skip_present: whether to look for messages that came there otherwise (NULL until decided);
        -- accepted_uidvalidity: the owner accepts that what was delivered before this UIDVALIDITY is missing;
        -- slowest_window: seconds
        CREATE TABLE target_mailboxes (
            id INTEGER PRIMARY KEY, target TEXT NOT NULL, mailbox TEXT NOT NULL, intended INTEGER NOT NULL DEFAULT 0,
            delivered INTEGER NOT NULL DEFAULT 0, parked INTEGER NOT NULL DEFAULT 0,
            uncertain INTEGER NOT NULL DEFAULT 0, skipped INTEGER NOT NULL DEFAULT 0, skip_present INTEGER,
            accepted_uidvalidity INTEGER NOT NULL DEFAULT 0, slowest_window REAL NOT NULL DEFAULT 0,
            UNIQUE (target, mailbox));

        -- projected: one row a delivery. state: intended (it may be there or not), delivered, parked, uncertain,
        -- skipped. intend = number of the log record that announced it; floor = the lowest UID it can have;
        -- how: append (the server said OK), found (looked up after a crash), present (it was there before)
        CREATE TABLE deliveries (
            id INTEGER PRIMARY KEY, mailbox INTEGER NOT NULL REFERENCES target_mailboxes (id), digest TEXT NOT NULL,
            state TEXT NOT NULL, intend INTEGER NOT NULL, uidvalidity INTEGER NOT NULL DEFAULT 0,
            floor INTEGER NOT NULL DEFAULT 0, uid INTEGER NOT NULL DEFAULT 0, how TEXT NOT NULL DEFAULT '',
            cause TEXT NOT NULL DEFAULT '', code TEXT NOT NULL DEFAULT '', run TEXT NOT NULL, time TEXT NOT NULL,
            internal_date TEXT NOT NULL DEFAULT '', internal_date_origin TEXT NOT NULL DEFAULT '');
        CREATE INDEX deliveries_digest ON deliveries (mailbox, digest);
        CREATE INDEX deliveries_uid ON deliveries (mailbox, uidvalidity, uid) WHERE state = 'delivered';
        CREATE INDEX deliveries_open ON deliveries (mailbox, state) WHERE state != 'delivered';

        -- runs that deliver: where to
        ALTER TABLE runs ADD COLUMN target TEXT NOT NULL DEFAULT '';

        -- advice: the target's own words about a message, for the report
        CREATE TABLE target_texts (
            target TEXT NOT NULL, mailbox TEXT NOT NULL, digest TEXT NOT NULL, text TEXT NOT NULL,
            PRIMARY KEY (target, mailbox, digest)) WITHOUT ROWID;
        """
    )


@migrations()
def m003_listings_and_deletions(db: Database) -> None:
    db.executescript(
        """
        -- messages.fingerprint: sha256 of the whole header section, to know a message again by TOP
        ALTER TABLE messages ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
        CREATE INDEX messages_fingerprint ON messages (fingerprint) WHERE fingerprint != '';

        -- places: present = the last complete listing had it; delete_asked, deleted = number of the log record that
        -- asked for its deletion, and of the one that confirmed it (0: none)
        ALTER TABLE places ADD COLUMN present INTEGER NOT NULL DEFAULT 1;
        ALTER TABLE places ADD COLUMN delete_asked INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE places ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
        CREATE INDEX places_present ON places (maildrop, unique_id, listed) WHERE present = 1;
        CREATE INDEX places_asked ON places (maildrop) WHERE delete_asked > 0;

        -- maildrops: places that the last complete listing had; places deleted on the server; the policy (days) under
        -- which something was deleted, NULL if nothing ever was
        ALTER TABLE maildrops ADD COLUMN present INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE maildrops ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE maildrops ADD COLUMN delete_after REAL;

        -- advice: what was learned about a maildrop's server
        CREATE TABLE maildrop_advice (
            maildrop TEXT PRIMARY KEY, window_one INTEGER NOT NULL, shrunken INTEGER NOT NULL) WITHOUT ROWID;
        """
    )


@migrations()
def m004_when_a_server_lied(db: Database) -> None:
    db.executescript(
        """
        -- maildrop_advice: when window_one was learned, since a server may have been mended since
        ALTER TABLE maildrop_advice ADD COLUMN lied TEXT NOT NULL DEFAULT '';
        """
    )


@migrations()
def m005_merkle_tree(db: Database) -> None:
    db.executescript(
        """
        -- position: the right edge of the log's Merkle tree (RFC 6962), 32 octets a hash; empty: not computed yet
        ALTER TABLE position ADD COLUMN edge BLOB NOT NULL DEFAULT x'';
        """
    )


@migrations()
def m006_repairs_and_budgets(db: Database) -> None:
    db.executescript(
        """
        -- deliveries: the repairs with which it was sent, their names with commas between, and the sha256 of what was
        -- sent then; both empty: it was sent as it is in mail/
        ALTER TABLE deliveries ADD COLUMN repairs TEXT NOT NULL DEFAULT '';
        ALTER TABLE deliveries ADD COLUMN sent_digest TEXT NOT NULL DEFAULT '';

        -- advice: octets sent to a target in each hour of the last day (UTC, like 2026-01-31T02), for --daily-limit
        CREATE TABLE target_budget (
            target TEXT NOT NULL, hour TEXT NOT NULL, octets INTEGER NOT NULL,
            PRIMARY KEY (target, hour)) WITHOUT ROWID;
        """
    )


@migrations()
def m007_messages_a_minute(db: Database) -> None:
    db.executescript(
        """
        -- advice: messages sent to a target in each minute of the last day (UTC, like 2026-01-31T02:15), one for each
        -- recipient, for --max-rate
        CREATE TABLE target_messages (
            target TEXT NOT NULL, minute TEXT NOT NULL, messages INTEGER NOT NULL,
            PRIMARY KEY (target, minute)) WITHOUT ROWID;
        """
    )


def migrate(connection: sqlite3.Connection) -> None:
    """Applies what this database has not had yet."""
    migrations.apply(Database(connection))
