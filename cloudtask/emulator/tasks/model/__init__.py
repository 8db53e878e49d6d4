"""
What a queue, a task and a dispatch are, as values: what is valid, which
defaults they get, when they are tried again.

Everything is given: messages, limits, `now`. What needs to know other tasks or
what is stored belongs to the engine.
"""
