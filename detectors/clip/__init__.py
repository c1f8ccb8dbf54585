"""CLIP-based detectors: towers of open_clip, prompts, and what WinCLIP, APRIL-GAN and AnomalyCLIP build on them."""
