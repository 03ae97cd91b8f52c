"""The desk of a municipality's package, on one machine without any network: what `start.py` runs."""
