"""The tables of Cloud Tasks, as SQL."""

from __future__ import annotations

#: A lane holds the tasks of a queue. A purge gives the queue a new one and
# leaves the old to be cleared bit by bit, so that it takes no time.
TABLES = """
CREATE TABLE IF NOT EXISTS queues (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    lane INTEGER NOT NULL UNIQUE,
    message BLOB NOT NULL,
    policy BLOB NOT NULL DEFAULT x''
);
CREATE TABLE IF NOT EXISTS queue_tombstones (
    path TEXT PRIMARY KEY,
    expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tasks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    lane INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    due INTEGER NOT NULL,
    in_flight INTEGER NOT NULL DEFAULT 0,
    executions INTEGER NOT NULL DEFAULT 0,
    previous_response INTEGER,
    message BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS task_names ON tasks (lane, task_id);
CREATE INDEX IF NOT EXISTS agenda ON tasks (lane, due, id) WHERE in_flight = 0;
CREATE INDEX IF NOT EXISTS flights ON tasks (id) WHERE in_flight > 0;
CREATE TABLE IF NOT EXISTS tombstones (
    queue INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (queue, task_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tombstone_expiry ON tombstones (expires);
CREATE TABLE IF NOT EXISTS cleared_lanes (
    lane INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    expires INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS operations (
    name TEXT PRIMARY KEY,
    request TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    message BLOB NOT NULL
) WITHOUT ROWID;
"""

#: What was being sent when the last process ended waits again.
RECOVERY = """
UPDATE tasks SET in_flight = 0 WHERE in_flight > 0;
"""
