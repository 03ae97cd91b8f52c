"""Objects, keys and catalog as one store: packing, reading, committing, receiving."""
