"""
What the field does to the package, one file for each kind of it.

Each is named after what happens, and happens to real parts: servers, databases
and clients over real connections. Nothing here waits for a time to pass.
"""
