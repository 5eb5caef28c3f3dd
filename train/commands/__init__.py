"""Commands of `train` by topic, which `train.cli` joins; nothing heavy is imported before a command runs."""
