"""Generated inspection images: eight categories, 27 kinds of defect, exact masks, the same pixels on every machine."""

from benchmark.datasets.procedural.generate import CATEGORIES, GENERATOR_VERSION, generate, render

__all__ = ["CATEGORIES", "GENERATOR_VERSION", "generate", "render"]
