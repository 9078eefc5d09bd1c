"""A stand-in for Kochava and Segment to try, test and measure against."""
