"""
The state machine: jobs that become due, their executions and retries.

Values and `now` go in, values come out, and everything is kept in the tables.
It reads no clock, sends nothing and starts nothing: that belongs to `sending`.
Reading requests and writing responses belongs to `api`.
"""
