"""Plans, approvals, epochs and recovery runs."""
