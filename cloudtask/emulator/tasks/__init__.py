"""
Cloud Tasks: all that this service has and no other.

Its names, refusals, queues and tasks, its tables, methods, dispatches, admin
routes. What a second service would need in the same way belongs to the rooms
beside this one. The emulator's runtime puts it together with them.
"""
