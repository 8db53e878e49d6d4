"""What goes wrong with a store."""


class StoreError(Exception):
    """The store cannot be opened: it is in use, foreign or unreadable."""
