"""What dies, hangs or lies while a run is under way."""
