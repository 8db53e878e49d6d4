"""
How the database is asked: connections, sessions, statements, and errors.

What it takes to get a statement through belongs here: which connection is
used, when it is replaced, what is tried again, and what an error means. What
the statements say about tasks does not.
"""
