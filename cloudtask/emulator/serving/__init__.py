"""
Listening: the two servers, and their addresses.

They are given handlers and an application, and know no service. What is
answered belongs to `api` and `web`.
"""
