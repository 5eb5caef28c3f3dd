"""What a model has learned: features, probes, and how sharply it routes."""
