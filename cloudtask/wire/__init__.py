"""What Cloud Tasks stores and brings back, as values."""
