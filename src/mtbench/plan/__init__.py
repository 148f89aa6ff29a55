"""What is measured, and how, as data."""
