"""
Locations, and the encryption keys that they are given.

A location is there as soon as a queue is in it, and a key encrypts nothing.
What is a location's name belongs to the emulator's room `values`.
"""
