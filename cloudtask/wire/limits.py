"""What Cloud Tasks allows, and what it does where nothing is said."""

from __future__ import annotations

from datetime import timedelta

#: Range of a dispatch deadline for HTTP targets.
MIN_DEADLINE, MAX_DEADLINE = timedelta(seconds=15), timedelta(minutes=30)
#: What Cloud Tasks gives a task without a deadline.
DEFAULT_DEADLINE = timedelta(minutes=10)
#: Characters of a task's path.
MAX_PATH_LENGTH = 500
#: Characters of a target URL.
MAX_URL_LENGTH = 2083
#: Bytes that a task's own headers may have; Cloud Tasks takes under 80 KB.
MAX_HEADER_BYTES = 64 * 1024
#: How far ahead Cloud Tasks schedules.
MAX_SCHEDULE = timedelta(days=30)
#: Bytes of a stored task, measured on the service: 1 MiB less 7. Its view does
#: not count.
MAX_STORED_BYTES = 1_048_569
