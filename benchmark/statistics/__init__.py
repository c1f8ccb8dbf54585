"""Robust score, intervals and rank intervals (PROTOCOL section 7)."""
