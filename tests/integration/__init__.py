"""Real servers on this machine."""
