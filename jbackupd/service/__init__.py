"""The daemon: wiring, scheduler, control socket, observation."""
