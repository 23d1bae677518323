"""PostgreSQL servers: reading a Source, writing a Target, copying, masking, swapping."""
