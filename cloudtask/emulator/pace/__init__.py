"""
The pace of what the emulator does by itself: when it works, and until when.

A pump wakes whenever something of its service is due; travelling moves the
clock over all pumps. What is due, and how it is sent, belongs to the service.
"""
