"""The assigner board (HD6303): MIDI and panel in, bytes on the wire out."""
