"""From a command to the least set of passes over images."""
