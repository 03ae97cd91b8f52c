"""What everything speaks of: errors, ids, records, units, clocks, dates. Imports nothing of the house."""
