"""What a musician stores: parameters, tones, banks and their sysex. Knows nothing of how sound is made."""
