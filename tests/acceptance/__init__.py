"""The promises, end to end."""
