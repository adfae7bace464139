"""A sound board: UART -> firmware -> THE LATCH -> analog voices -> HPF -> chorus."""
