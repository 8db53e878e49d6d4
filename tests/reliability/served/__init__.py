"""The project that is served, to be killed."""
