"""What there is by name, and what of it can run here."""
