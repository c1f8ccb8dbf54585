"""A submission's detector in a process without network, and the files it hands back."""
