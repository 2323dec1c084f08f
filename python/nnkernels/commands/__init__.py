"""What ``python -m nnkernels`` runs, a module for each command."""
