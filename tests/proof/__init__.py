"""The proof that what is acknowledged is never lost and never out of order: real processes, a
Kochava that misbehaves, faults at every point, and an oracle that knows what must have happened.
"""
