"""The doors: what clients send is authenticated, checked, stored, and only then answered."""
