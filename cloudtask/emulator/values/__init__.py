"""
Values that any of Google's APIs has, and their rules: refusals, instants,
field paths, pages, header names, URLs.

They are plain functions and data. What only one service has, such as the name
of a queue, belongs to that service's package. Nothing here keeps state, reads
a clock or talks to anybody.
"""
