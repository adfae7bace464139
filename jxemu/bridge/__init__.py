"""The bridge to hardware: a real sound board on a serial port, and what it answers.

Nothing here knows what sound is made of: bytes go to the board at their times, and sound that comes back is
brought onto the same time.
"""
