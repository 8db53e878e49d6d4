"""What nobody is to see: sensitive arguments, and values in tracebacks."""
