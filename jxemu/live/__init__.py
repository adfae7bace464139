"""The machine played live: sound card, MIDI ports, and the thread between them."""
