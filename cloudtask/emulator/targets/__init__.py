"""
The way to a target over HTTP: which hosts may be one, connections to them, and
the client that sends a request.

It knows requests and answers, and no tasks. When something is sent, how often
and what an answer means belongs to the service that sends it.
"""
