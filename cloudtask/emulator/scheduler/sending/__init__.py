"""
Sending jobs that are due, and the record of what became of them.

The dispatcher drives the engine by the clock. What is due, and what an answer
means for a job, is decided by the engine. How a request gets to its target
belongs to the emulator's room `targets`.
"""
