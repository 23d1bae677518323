"""Rules that hold for every input."""
