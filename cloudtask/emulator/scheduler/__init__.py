"""
Cloud Scheduler: all that this service has and no other.

Its jobs, schedules, refusals, tables, methods, dispatches and admin routes.
What Cloud Tasks needs in the same way belongs to the rooms beside this one.
The emulator's runtime puts it together with them.
"""
