"""`train` with several command lines, one after the other, in the ranks of one launch of torchrun."""

import json
import os
import sys
from functools import partial

import torch.distributed as dist

from train.cli import main

store, rank, world = next(dist.rendezvous("env://"))
begin = dist.init_process_group
ends = []  # kept: frames of a failure hold a process group, and freeing it can wait for a thread that waits for us
for count, line in enumerate(json.loads(sys.argv[1])):
    names = dist.PrefixStore(str(count), store)  # ranks of one run must not find those of the run before
    dist.init_process_group = partial(begin, store=names, rank=rank, world_size=world)
    sys.argv = ["train", *line]
    try:
        main()
    except SystemExit as ended:
        ends.append(ended)
        print(f"ended with {ended.code}")
sys.stdout.flush()
os._exit(0)
