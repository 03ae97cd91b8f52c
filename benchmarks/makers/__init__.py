"""What is backed up: each module writes the days of one kind of data. The same seed gives the same bytes."""
