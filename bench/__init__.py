"""`kochava-proxy bench`: what this machine's cores can do, and how near the proxy comes to it."""
