"""Files that survive: atomic JSON, scratch folders, caches and the store of cells."""
