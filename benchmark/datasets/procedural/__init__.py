"""Generated inspection images: eight categories, three kinds of defect each, exact masks, the same everywhere."""

from benchmark.datasets.procedural.dataset import Procedural
from benchmark.datasets.procedural.generator import CATEGORIES, GENERATOR_VERSION, generate, render

__all__ = ["CATEGORIES", "GENERATOR_VERSION", "Procedural", "generate", "render"]
