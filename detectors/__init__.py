"""Detectors, one file per family, on shared frozen backbones."""
