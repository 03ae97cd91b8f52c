"""Bytes at rest: one module per object of vault format 1, layout in its docstring. Pure."""
