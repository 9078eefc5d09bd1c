"""The commands of `kochava-proxy`, one a file."""
