"""The static leaderboard, rendered from result JSONs alone (no torch)."""
