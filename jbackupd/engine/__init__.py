"""Jobs over vaults: backup, replicate, verify."""
