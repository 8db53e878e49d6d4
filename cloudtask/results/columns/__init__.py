"""
What a column of the tables holds: texts of any characters, JSON, and moments.

Fields, what they store, and the database's clock belong here. Nothing here
knows a model, a task, or a state that a task may be in.
"""
