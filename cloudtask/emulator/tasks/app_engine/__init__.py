"""
Tasks for App Engine: their limits, their defaults, their headers.

Hardly anybody has them locally. What they share with HTTP tasks belongs to the
model, and to `requests`.
"""
