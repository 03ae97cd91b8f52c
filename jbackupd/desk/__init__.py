"""The minimal continuity service: look a resident up."""
