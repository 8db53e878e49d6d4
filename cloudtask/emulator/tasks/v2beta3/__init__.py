"""
The older version of the API, in the terms of v2.

Only the translation of messages belongs here. Every call is carried out by the
methods of v2.
"""
