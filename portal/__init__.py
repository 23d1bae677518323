"""Where people meet Freshet."""
