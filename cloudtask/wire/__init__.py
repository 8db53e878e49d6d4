"""
What Cloud Tasks stores and brings back, as values.

Here is the wire format: payloads and the values in them, headers, names,
policies, the size of a stored task, and all numbers that are Google's. Nothing
here reads settings, opens a connection, runs a task or touches a database: who
gets and gives these values is in `enqueue`, `transports` and `dispatch`.
"""
