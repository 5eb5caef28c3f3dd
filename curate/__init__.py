"""Find, pair, describe, sample and cut satellite scenes into a training catalog."""

__version__ = "0.1.0"
