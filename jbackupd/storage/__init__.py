"""Blocking drivers for files: the port, durable writes, append-only journals, confined restore."""
