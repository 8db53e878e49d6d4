"""The numbers of Cloud Scheduler: what it takes, keeps and assumes."""

from __future__ import annotations

from cloudtask.emulator.values.instants import SECOND

#: Most jobs on a page of ListJobs, and as many as without a page size.
MAX_JOBS_PAGE = 500
#: Largest job, serialized, in bytes.
MAX_JOB_SIZE = 1024 * 1024
MAX_DESCRIPTION_LENGTH = 500
#: Longest URI once encoded, in characters.
MAX_URI_LENGTH = 2083
#: All header names and values of a job stay below this, in bytes.
MAX_HEADERS_SIZE = 80 * 1024
MAX_RETRY_COUNT = 5

#: Ranges and defaults of the attempt deadline, in microseconds. App Engine's
#: own defaults depend on the scaling of the app; this is the automatic one's.
MIN_DEADLINE = 15 * SECOND
MAX_DEADLINE = 30 * 60 * SECOND
MAX_APP_ENGINE_DEADLINE = 24 * 3600 * SECOND + 15 * SECOND
DEFAULT_DEADLINE = 180 * SECOND
DEFAULT_APP_ENGINE_DEADLINE = 600 * SECOND

#: How many entries of its execution log are kept for each job.
MAX_LOG_ENTRIES = 200

#: What Cloud Scheduler calls itself towards HTTP targets and App Engine.
USER_AGENT = "Google-Cloud-Scheduler"
APP_ENGINE_USER_AGENT = "AppEngine-Google; (+http://code.google.com/appengine)"
