"""The two programs as commands that the reference page can walk through."""

from typer.main import get_command

import curate.cli
import train.cli

curate = get_command(curate.cli.app)
train = get_command(train.cli.app)
