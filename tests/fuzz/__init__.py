"""Whatever a door is given, it answers or refuses."""
