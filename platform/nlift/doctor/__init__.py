"""What `nlift doctor` looks at: this machine, and what an experiment needs of it."""
