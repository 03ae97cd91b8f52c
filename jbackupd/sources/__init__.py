"""Where a dataset's data comes from: files, command output."""
