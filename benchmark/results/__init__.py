"""What a run leaves: the strict result schema, its evidence, its provenance, and submissions."""
