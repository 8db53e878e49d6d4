"""The way to the targets: when, what and where tasks are sent."""
