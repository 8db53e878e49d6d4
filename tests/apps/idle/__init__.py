"""An app without tasks."""
