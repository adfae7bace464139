"""Rendering without a sound card: scores, notes, batches."""
