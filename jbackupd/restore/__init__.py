"""From a point back to files, confined to the target."""
