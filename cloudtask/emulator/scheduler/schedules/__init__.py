"""
Schedules of jobs: unix cron, and the English-like ones of App Engine.

A text and a zone go in, instants come out, in microseconds. Crons are those of
`cloudtask.cron`; the English-like grammar is this room's own, as are the
phases of intervals. What happens in a slot belongs to the engine.
"""
