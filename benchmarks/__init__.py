"""What jbackupd costs beside restic, BorgBackup and the lower bounds: `python -m benchmarks --help`."""
