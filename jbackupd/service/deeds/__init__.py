"""The deeds of a recovery run's steps at this site, one module per kind."""
