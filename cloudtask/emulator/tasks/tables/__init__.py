"""
What Cloud Tasks keeps: one module for each table or two, and the schema.

They keep and find. What may be kept, and when it ends, belongs to the engine;
how a file is opened, locked and committed to the emulator's room `storage`.
"""
