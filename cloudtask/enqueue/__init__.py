"""From a function to a task that is sent."""
