"""The local SQLite index of a vault; always rebuildable from the vault."""
