"""Data sets, from their official files or generated. Importing a loader is light: pixels are decoded lazily."""
