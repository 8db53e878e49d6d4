"""
Cloud Tasks' own numbers: what it allows, and what it does by default.

All of them are Google's. A limit that this package sets is beside what it
limits.
"""

from __future__ import annotations

from datetime import timedelta

# Names

#: Characters of a queue's name.
MAX_QUEUE_NAME_LENGTH = 100
#: Characters of a task's id, the last part of its name.
MAX_TASK_ID_LENGTH = 500
#: Characters of the longest id that an unnamed task is given.
MAX_ASSIGNED_ID_LENGTH = 20

# Tasks

#: Bytes of a stored task, measured on the service: 1 MiB less 7. The field
#: `view` does not count.
MAX_STORED_BYTES = 1_048_569
#: Bytes of a task as its documentation has it. No body is larger.
MAX_BODY_BYTES = 1024 * 1024
#: Characters of a target URL.
MAX_URL_LENGTH = 2083
#: Range of a dispatch deadline for HTTP targets.
MIN_DEADLINE, MAX_DEADLINE = timedelta(seconds=15), timedelta(minutes=30)
#: Deadline of a task without one.
DEFAULT_DEADLINE = timedelta(minutes=10)
#: How far ahead a task can be scheduled.
MAX_SCHEDULE = timedelta(days=30)
#: How long a task is kept, dispatched or not.
RETENTION = timedelta(days=31)
#: Header that is added to each stored task.
ADDED_HEADER = ("User-Agent", "Google-Cloud-Tasks")

# Retries: what a queue has that was created without a word on them

DEFAULT_MAX_ATTEMPTS = 100
DEFAULT_MIN_BACKOFF = timedelta(seconds=0.1)
DEFAULT_MAX_BACKOFF = timedelta(hours=1)
DEFAULT_MAX_DOUBLINGS = 16
#: What `max_attempts` is where there is no limit.
UNLIMITED_ATTEMPTS = -1
#: The largest number that the fields of a policy hold.
MAX_RETRY_NUMBER = 2**31 - 1

# Batch calls

#: Tasks that one call creates, and that one deletes.
MAX_BATCH_CREATED, MAX_BATCH_DELETED = 100, 1000
