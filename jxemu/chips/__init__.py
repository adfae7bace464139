"""Silicon that other machines use too; knows nothing of Roland."""
