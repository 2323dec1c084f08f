"""The CPU target and the number of threads."""

import operator
from typing import SupportsIndex, TypedDict

from nnkernels import _core

_MOST_THREADS = 2**31 - 1


class Config(TypedDict):
    """The result of ``config``."""

    version: str
    target: str
    targets: list[str]
    threads: int
    compiler: str


def config() -> Config:
    """Return the version, CPU target and threads of this installation.

    The environment variable ``NNKERNELS_TARGET``, read at import, forces another CPU target. All
    targets give the same bits.

    Returns
    -------
    dict
        ``version``; ``target``, the CPU target in use; ``targets``, the list of targets that this
        machine can run; ``threads``, as ``get_num_threads``; ``compiler``, which built the kernels.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.config()["target"] in nnk.config()["targets"]
    True
    """
    return _core.config()


def show_config() -> None:
    """Print the result of ``config``, one line per entry.

    Examples
    --------
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
    """Return the maximum number of threads per call, including the calling thread.

    Results do not depend on it. The default is the environment variable ``NNKERNELS_NUM_THREADS``.
    If that is not set, it is the minimum of

    - the number of CPUs in the process's affinity mask,
    - the container's CPU quota (Linux control groups, versions 1 and 2), rounded up,
    - the environment variable ``OMP_NUM_THREADS``, or its first number if it is a list. joblib and
      Dask set it for their workers.

    All are read at import.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> import nnkernels as nnk
    >>> nnk.get_num_threads() >= 1
    True
    """
    return _core.get_num_threads()


def set_num_threads(n: SupportsIndex) -> None:
    """Set the maximum number of threads per call, including the calling thread.

    It applies to the whole process, and may exceed the number of CPUs.

    Parameters
    ----------
    n : int
        From 1 to 2**31 - 1.

    Raises
    ------
    TypeError
        If ``n`` is not an integer.
    ValueError
        If ``n`` is out of range.

    Examples
    --------
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
