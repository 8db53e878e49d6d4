"""The rules: values and `now` in, values out. Only the store does I/O."""
