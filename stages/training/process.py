"""What training asks of its process: the same sums on every run, its own cores, memory that stays.

By default glibc maps each large tensor anew and unmaps it when it is freed, so half of a step on a
CPU is page faults. The same thresholds can be set through MALLOC_* variables before a process
starts; mallopt sets them from inside, for every user of the stage.
Source: mallopt(3).
"""

import ctypes
import logging

import torch

from stages.inference.cpu import thread_count

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_MAX = -4
NEVER = -1
TOP_PAD_BYTES = 2**29


def compute_deterministically() -> None:
    """Have PyTorch use operators that give the same bits on every run.

    A CPU has one of each; on a GPU some are missing, and PyTorch warns of what it takes instead.
    """
    torch.use_deterministic_algorithms(True, warn_only=torch.accelerator.is_available())
    # Nothing reads memory before writing it; filling it first would cost a fifth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False


def use_own_cores() -> None:
    """Have PyTorch run no more threads than the cores that this process may use.

    It does not see a container's share by itself. Fewer, as a launcher asks for, stay fewer.
    """
    if (cores := thread_count()) < torch.get_num_threads():
        torch.set_num_threads(cores)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory; another C library stays as it is."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        log.info("allocator: not glibc, left as it is; training and fine-tuning may be slower")
        return
    for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, TOP_PAD_BYTES)):
        mallopt(option, value)
