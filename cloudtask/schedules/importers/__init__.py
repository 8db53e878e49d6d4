"""
Schedules of other tools, read from files.

A file is read as values, and nothing of it is run or imported. What cannot be
said here is a problem, with its place and a reason, and is not approximated.
What is read becomes code for people to paste, or rows.
"""
