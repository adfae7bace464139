"""Specs that come with jxemu, as TOML."""

from pathlib import Path

PRESETS = {
    "thesis-1k": ("thesis", 1_000),
    "thesis-100k": ("thesis", 100_000),
    "thesis-1m": ("thesis", 1_000_000),
    "jx-bank": ("jx-bank", None),
    "jx-notes-100k": ("jx-notes", 100_000),
    "jx-poly-10k": ("jx-poly", 10_000),
    "jx-fx-taps": ("jx-fx-taps", 1_000),
    "samplegen-1k": ("samplegen", 1_000),
    "jx-keys-20k": ("jx-keys", 20_000),
    "match-120k": ("match", 120_000),
    "toy": ("toy", 256),
}
"""By name: the file here, and how many items."""

FOLDER = Path(__file__).parent
