"""
Sending what is due, and the record of what became of it.

The dispatcher drives the engine by the clock; the journal remembers attempts.
What is due, and what an answer means for a task, is decided by the engine. How
a request gets to its target belongs to the emulator's room `targets`.
"""
