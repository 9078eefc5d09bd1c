"""Which devices belong to which user."""
