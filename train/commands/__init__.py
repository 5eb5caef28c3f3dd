"""Commands of `train`, one module a topic; nothing is decided in them."""
