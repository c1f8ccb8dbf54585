"""From evidence to every number of a result; pure functions, shared by run, rescore and verify."""
