"""The tables of Cloud Scheduler, as SQL."""

from __future__ import annotations

#: An execution has one attempt at a time: it waits for it until `due`, or it
#: is under way.
TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    next_slot INTEGER,
    phase INTEGER,
    message BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS job_agenda ON jobs (next_slot) WHERE next_slot IS NOT NULL;
CREATE TABLE IF NOT EXISTS executions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    forced INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    began INTEGER NOT NULL DEFAULT 0,
    due INTEGER
);
CREATE INDEX IF NOT EXISTS execution_jobs ON executions (job);
CREATE INDEX IF NOT EXISTS execution_agenda ON executions (due) WHERE due IS NOT NULL;
CREATE TABLE IF NOT EXISTS execution_logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    job INTEGER NOT NULL,
    entry TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS execution_log_jobs ON execution_logs (job);
"""

#: What was being sent when the last process ended is sent again.
RECOVERY = """
UPDATE executions SET due = 0 WHERE due IS NULL;
"""
