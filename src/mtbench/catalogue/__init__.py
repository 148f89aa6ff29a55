"""Operators and frameworks by name, and which of them can run here."""
