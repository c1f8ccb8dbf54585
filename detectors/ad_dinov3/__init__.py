"""AD-DINOv3: DINOv3 tokens and CLIP text brought together by trained adapters; zero-shot."""
