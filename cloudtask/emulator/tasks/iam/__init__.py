"""
IAM policies of queues: which ones are valid, and how they change.

They are kept and shown; nobody is kept out by them, so nothing else needs to
know them.
"""
