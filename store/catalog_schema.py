"""The catalog's tables.

Nothing in them names a person: what does is in a `sealed` column, under a key of the keyring.
"""

from typing import Final

CATALOG_VERSION: Final = 8

SCHEMA: Final = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

CREATE TABLE batches (
    batch_id       INTEGER PRIMARY KEY AUTOINCREMENT,
    source         TEXT NOT NULL,
    format         TEXT NOT NULL,
    received_us    INTEGER NOT NULL,
    records        INTEGER NOT NULL,
    accepted       INTEGER NOT NULL,
    duplicates     INTEGER NOT NULL,
    conflicts      INTEGER NOT NULL,
    rejected       INTEGER NOT NULL,
    rows           INTEGER NOT NULL,
    bytes          INTEGER NOT NULL,
    seconds        REAL NOT NULL,
    reject_reasons TEXT NOT NULL,           -- JSON: reason -> count
    key_ref        TEXT NOT NULL,           -- of `sealed`: the oldest partition that the batch touched
    sealed         BLOB NOT NULL,           -- JSON: SHA-256 of the delivered bytes
    withdrawn_us   INTEGER
) STRICT;

CREATE TABLE partitions (
    partition_id    INTEGER PRIMARY KEY,
    end_date        TEXT NOT NULL,
    retention_class TEXT NOT NULL,
    key_domain      TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('live', 'dropping', 'dropped')),
    sealed          INTEGER NOT NULL DEFAULT 0,
    rows            INTEGER NOT NULL DEFAULT 0,
    parts           INTEGER NOT NULL DEFAULT 0,
    bytes           INTEGER NOT NULL DEFAULT 0,
    dropped_us      INTEGER,
    location_state  TEXT CHECK (location_state IN ('live', 'dropping', 'dropped')),  -- null: none was stored
    UNIQUE (end_date, retention_class, key_domain)
) STRICT;

CREATE TABLE parts (
    part_id           INTEGER PRIMARY KEY AUTOINCREMENT,
    file_id           TEXT NOT NULL UNIQUE,
    partition_id      INTEGER NOT NULL REFERENCES partitions,
    batch_id          INTEGER REFERENCES batches,  -- null when merged: then each row says its own
    rows              INTEGER NOT NULL,
    bytes             INTEGER NOT NULL,
    sha256            TEXT NOT NULL,        -- of the ciphertext
    identities_bytes  INTEGER NOT NULL,
    identities_sha256 TEXT NOT NULL,
    index_bytes       INTEGER NOT NULL,
    index_sha256      TEXT NOT NULL,
    start_us_min      INTEGER NOT NULL,
    end_us_min        INTEGER NOT NULL,
    end_us_max        INTEGER NOT NULL,
    schema_version    INTEGER NOT NULL,
    location_rows     INTEGER NOT NULL DEFAULT 0,
    location_bytes    INTEGER NOT NULL DEFAULT 0,  -- 0: no record has a location, or not any more
    location_sha256   TEXT NOT NULL DEFAULT '',
    services          TEXT NOT NULL DEFAULT '{}'  -- JSON: records by category of service
) STRICT;
CREATE INDEX parts_of_partition ON parts (partition_id);
CREATE INDEX parts_of_batch ON parts (batch_id);

CREATE TABLE part_batches (                 -- what a merged part holds
    part_id  INTEGER NOT NULL REFERENCES parts,
    batch_id INTEGER NOT NULL REFERENCES batches,
    rows     INTEGER NOT NULL,
    PRIMARY KEY (part_id, batch_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX parts_of_merged_batch ON part_batches (batch_id);
CREATE INDEX withdrawn_batches ON batches (batch_id) WHERE withdrawn_us IS NOT NULL;

CREATE TABLE retired (                      -- merged away; their files go when no reader is at work
    file_id      TEXT PRIMARY KEY,
    partition_id INTEGER NOT NULL REFERENCES partitions
) STRICT, WITHOUT ROWID;

CREATE TABLE intake (                       -- what `reconcile` adds up
    source     TEXT NOT NULL,
    transport  TEXT NOT NULL,
    hour_us    INTEGER NOT NULL,
    delivered  INTEGER NOT NULL,
    stored     INTEGER NOT NULL,
    duplicates INTEGER NOT NULL,
    conflicts  INTEGER NOT NULL,
    rejects    INTEGER NOT NULL,
    PRIMARY KEY (source, transport, hour_us)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (                  -- keyed hashes of clients' idempotency keys, for a week
    tag      BLOB PRIMARY KEY,
    batch_id INTEGER NOT NULL,
    until_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE queue_settled (                -- ranges of a queue's messages that are in batches (`store.queue_offsets`)
    queue TEXT NOT NULL,
    first INTEGER NOT NULL,
    last  INTEGER NOT NULL,
    PRIMARY KEY (queue, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE quarantine (
    quarantine_id INTEGER PRIMARY KEY AUTOINCREMENT,
    batch_id      INTEGER NOT NULL,
    source        TEXT NOT NULL,
    format        TEXT NOT NULL,
    received_us   INTEGER NOT NULL,
    rejects       INTEGER NOT NULL,
    key_ref       TEXT NOT NULL,
    sealed        BLOB NOT NULL,            -- JSON: positions, reasons, fields, bytes without content
    replayed_us   INTEGER
) STRICT;

CREATE TABLE sessions (                     -- that run, and that were closed by timeout: their true end may come
    tag         BLOB PRIMARY KEY,           -- keyed hash of the session key
    state       TEXT NOT NULL CHECK (state IN ('open', 'closed')),
    source      TEXT NOT NULL,
    element     INTEGER NOT NULL,           -- keyed hash of source and network element
    sieve       INTEGER NOT NULL,           -- keyed bits of its identifiers (`store.open_sessions.session_sieve`)
    ended_us    INTEGER,                    -- of a closed one; of an open one, of the use of its key before
    seen_us     INTEGER NOT NULL,
    batch_id    INTEGER NOT NULL,           -- that changed it last
    key_ref     TEXT NOT NULL,
    sealed      BLOB NOT NULL               -- the fields so far, bound to all columns but the key
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_age ON sessions (state, seen_us);
CREATE INDEX sessions_of_element ON sessions (element) WHERE state = 'open';

CREATE TABLE ended_sessions (               -- remembered for the dedup horizon (`store.open_sessions.session_tables`)
    tag         INTEGER PRIMARY KEY,        -- the first 64 bits of the keyed hash of the session key
    lasted_us   INTEGER,                    -- its end less its start
    ended_us    INTEGER,
    batch_id    INTEGER NOT NULL            -- that ended it; one that is withdrawn ended nothing
) STRICT;

CREATE TABLE documents (
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    revision INTEGER NOT NULL,
    key_ref  TEXT NOT NULL,
    sealed   BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE outbox (                       -- audit entries committed with their cause, on their way to the audit log
    entry_id INTEGER PRIMARY KEY AUTOINCREMENT,
    key_ref  TEXT NOT NULL,
    sealed   BLOB NOT NULL
) STRICT;

CREATE TABLE spool_segments (               -- files of acknowledged pushes that are not all in a batch yet
    segment    INTEGER PRIMARY KEY AUTOINCREMENT,
    file_id    TEXT NOT NULL UNIQUE,
    key_ref    TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    drained    INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE spool_batches (                -- which pushes are in which batch, and what became of each: counts only
    segment  INTEGER NOT NULL,
    batch_id INTEGER NOT NULL,
    source   TEXT NOT NULL,
    until_us INTEGER NOT NULL,
    outcomes BLOB NOT NULL,                 -- see `store.spooling.spool_receipts`
    PRIMARY KEY (segment, batch_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE clock_mark (                   -- what the guard of the clock saw last
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE clock_sources (
    source TEXT PRIMARY KEY,
    sealed BLOB NOT NULL                    -- JSON: when it was heard last, up to where its newest record reaches; µs
) STRICT, WITHOUT ROWID;

CREATE TABLE certificates (                 -- of erasures: begun with the intent, signed at the end
    partition TEXT PRIMARY KEY,
    draft     TEXT NOT NULL,                -- JSON: what is known only before the key is destroyed
    number    INTEGER UNIQUE,
    note      TEXT                          -- the signed certificate
) STRICT, WITHOUT ROWID;

CREATE TABLE logins (                       -- the authentication log, by UTC day
    id      TEXT NOT NULL UNIQUE,
    day     TEXT NOT NULL,
    key_ref TEXT NOT NULL,                  -- the day's
    sealed  BLOB NOT NULL                   -- JSON: what happened, how, whose account, the place's keyed tag, how often
) STRICT;

CREATE TABLE held (                         -- what a hold keeps of a partition; no file when it found nothing there
    held_id   INTEGER PRIMARY KEY,
    hold_id   TEXT NOT NULL,
    partition TEXT NOT NULL,
    file_id   TEXT,
    rows      INTEGER NOT NULL,
    bytes     INTEGER NOT NULL,
    sha256    TEXT NOT NULL,
    UNIQUE (hold_id, partition)
) STRICT;

CREATE TABLE corrections (                  -- of single records: requested, or in force in the order of the numbers
    correction_id INTEGER PRIMARY KEY AUTOINCREMENT,
    act           TEXT NOT NULL UNIQUE,
    partition_id  INTEGER NOT NULL REFERENCES partitions,
    kind          TEXT NOT NULL CHECK (kind IN ('restricted', 'released', 'superseded', 'rectified', 'erased')),
    confirmed_us  INTEGER,
    sealed        BLOB NOT NULL             -- JSON: record, fields, reason, signatures; under the partition's key
) STRICT;
"""
