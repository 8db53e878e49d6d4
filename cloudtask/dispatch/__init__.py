"""From a POST of Cloud Tasks to the function."""
