"""What a run takes, known before it is started: time, and money."""
