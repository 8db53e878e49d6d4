"""A project that real servers serve in processes of their own."""
