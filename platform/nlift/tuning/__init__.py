"""What a sweep tries, and what is kept of each trial."""
