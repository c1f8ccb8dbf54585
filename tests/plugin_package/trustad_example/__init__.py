"""A third party's package, as TrustAD sees it once installed: entry points and the public contracts only."""
