"""Models that turn batches into batches; none knows an experiment, and `embed` alone knows Ray."""
