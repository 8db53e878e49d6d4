"""
What is kept of Cloud Scheduler, table by table.

Rows go in and come out, and every statement is here. What rows mean, and when
they change, belongs to the engine.
"""
