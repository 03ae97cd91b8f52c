"""jbackupd: backup and disaster recovery between municipal datacenters."""

__version__ = "0.1.0"
