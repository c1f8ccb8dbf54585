"""Attacks, one file per family: 8-bit images in, 8-bit images out."""
