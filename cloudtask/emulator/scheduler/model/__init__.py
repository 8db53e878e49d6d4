"""
What a job, its targets, an attempt and a log entry are, as values: what is
valid, which defaults they get, when they are tried again.

Everything is given: messages, limits, `now`. What needs to know other jobs or
what is stored belongs to the engine.
"""
