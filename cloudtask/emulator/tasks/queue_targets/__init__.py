"""
HTTP targets of queues: what is set at a queue and laid over its tasks.

What a task says of itself belongs to the model.
"""
