"""What an operator writes: configuration and plans, with file and line in every error."""
