"""Parts of the calibration kit: `measures` of a sound, `steps` of the sequence, `fit` of a unit to what was measured."""
