"""The numbers of Cloud Tasks: what it takes, keeps and assumes."""

from __future__ import annotations

from cloudtask.emulator.values.instants import SECOND

#: Largest stored task, serialized, in bytes; which of them count, tasks.fill()
#: says. 7 less than 1 MiB, as measured.
MAX_TASK_SIZE = 1_048_569
#: Longest URL, in characters.
MAX_URL_LENGTH = 2083
#: All header names and values of a task stay below this, in bytes.
MAX_HEADERS_SIZE = 80 * 1024
#: How far ahead a task can be scheduled, in microseconds.
MAX_SCHEDULE_AHEAD = 720 * 3600 * SECOND
#: A task is dropped this long after its creation, in microseconds.
RETENTION = 31 * 24 * 3600 * SECOND
#: Range and default of the dispatch deadline, in microseconds. App Engine's
#: own defaults depend on the scaling of the app; this is the automatic one's.
MIN_DEADLINE = 15 * SECOND
MAX_DEADLINE = 30 * 60 * SECOND
MAX_APP_ENGINE_DEADLINE = 24 * 3600 * SECOND + 15 * SECOND
DEFAULT_DEADLINE = 600 * SECOND

#: What a queue may dispatch in a second and at a time, and what is filled in
#: for RateLimits that are not set.
MAX_DISPATCHES_PER_SECOND = 500
MAX_CONCURRENT_DISPATCHES = 5000
DEFAULT_DISPATCHES_PER_SECOND = 500.0
DEFAULT_CONCURRENT_DISPATCHES = 1000
#: The service chooses the burst size by the rate. 100 at 500/s and 10 at 1/s
#: were seen, the steps between them are unconfirmed.
BURST_SIZES = ((500, 100), (50, 20), (1, 10), (0, 5))

#: Most queues on a page of ListQueues, and as many as without a page size.
MAX_QUEUES_PAGE = 9800
#: Most tasks on a page of ListTasks, and as many as without a page size.
MAX_TASKS_PAGE = 1000
#: Most tasks that one call of a batch creates and deletes.
MAX_CREATED = 100
MAX_DELETED = 1000
#: How long the operation of a batch can be asked for, in microseconds.
OPERATION_RETENTION = 24 * 3600 * SECOND

#: What Cloud Tasks calls itself towards HTTP targets and App Engine.
USER_AGENT = "Google-Cloud-Tasks"
APP_ENGINE_USER_AGENT = "AppEngine-Google; (+http://code.google.com/appengine)"
