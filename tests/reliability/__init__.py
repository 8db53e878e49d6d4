"""
What a task survives: servers that are killed and frozen, and twin dispatches.

Real servers under gunicorn, a real PostgreSQL, and the emulator as the queue.
"""
