"""Smaller models from trained ones, and larger ones for new tasks: use, pruning, merging, distillation, growth."""
