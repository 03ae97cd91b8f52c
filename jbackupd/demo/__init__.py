"""The whole story on one machine: a generated town, three sites, a loss, a recovery."""
