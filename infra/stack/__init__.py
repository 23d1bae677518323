"""The embedded stack: everything Freshet needs, on one machine, from registry packages alone."""
