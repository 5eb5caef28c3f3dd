"""Train and judge sensor-agnostic foundation models on the catalogs that `curate` writes."""

__version__ = "0.1.0"
