"""Learning from renders: datasets as tensors."""
