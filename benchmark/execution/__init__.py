"""Passes over images: batches, attacks under control, detectors' scores."""
