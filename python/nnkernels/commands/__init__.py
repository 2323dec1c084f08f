"""The commands of ``python -m nnkernels``, each in a module."""
