"""Decisions over frozen records, with time as an argument. Pure."""
