"""What two sites say to each other, without any I/O."""
