"""
The filters of ListQueues: their language, and how values are compared.

Other lists have no filters. Where the list is cut into pages belongs to the
engine.
"""
