"""What runs where: the CPU target and the number of threads."""

import operator
from typing import SupportsIndex, TypedDict

from nnkernels import _core

_MOST_THREADS = 2**31 - 1


class Config(TypedDict):
    """What ``config`` returns."""

    version: str
    target: str
    targets: list[str]
    threads: int
    compiler: str


def config() -> Config:
    """Return how this installation runs.

    Keys: ``version``; ``target``, the CPU target in use; ``targets``, those that this machine can
    run, ``generic`` among them; ``threads``, the maximum number of threads of a call
    (``get_num_threads``); ``compiler``, which built the kernels.

    The environment variable ``NNKERNELS_TARGET`` chooses another target before the import; all of
    them give the same bits.

    >>> import nnkernels as nnk
    >>> nnk.config()["target"] in nnk.config()["targets"]
    True
    """
    return _core.config()


def show_config() -> None:
    """Print what ``config`` returns, a line each: version, target, targets, threads, compiler.

    >>> import nnkernels as nnk
    >>> nnk.show_config()  # doctest: +ELLIPSIS
    version   ...
    target    ...
    targets   generic...
    threads   ...
    compiler  ...
    """
    for key, value in config().items():
        print(f"{key:8}  {', '.join(value) if isinstance(value, list) else value}")


def get_num_threads() -> int:
    """Return the limit of threads that one call may use, the calling thread included.

    The default is the environment variable ``NNKERNELS_NUM_THREADS``. Without it, it is the least
    of

    - the CPUs of the process's affinity,
    - the CPU quota of the container (Linux control groups, versions 1 and 2), rounded up,
    - the environment variable ``OMP_NUM_THREADS``, of a list its first number. joblib and Dask set
      it for their workers.

    They are read at import. Results do not depend on the number of threads.

    >>> import nnkernels as nnk
    >>> nnk.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def set_num_threads(n: SupportsIndex) -> None:
    """Limit the threads that one call may use, the calling thread included, for the whole process.

    The number is taken as given, also where it is above the number of CPUs. Raises TypeError for
    what is no integer, and ValueError unless it is from 1 to 2**31 - 1.

    >>> import nnkernels as nnk
    >>> before = nnk.get_num_threads()
    >>> nnk.set_num_threads(7)
    >>> nnk.get_num_threads()
    7
    >>> nnk.set_num_threads(before)
    """
    try:
        threads = operator.index(n)
    except TypeError:
        raise TypeError(f"set_num_threads expected an integer, got {n!r} of type {type(n).__name__}") from None
    if not 1 <= threads <= _MOST_THREADS:
        raise ValueError(f"set_num_threads expected a number of threads from 1 to {_MOST_THREADS}, got {threads}")
    _core.set_num_threads(threads)
