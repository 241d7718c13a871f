"""The HTTP side of nlift: a bundle behind Ray Serve."""
