"""What operators and their machines ask on a port of its own: metrics and health."""
