"""What a run reads: canonical images, episodes, downloads, and the checks of their integrity."""
