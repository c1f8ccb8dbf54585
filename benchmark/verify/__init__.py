"""Checking a submission: nothing in it is believed, everything that can be recomputed is.

`checks.verify_submission` gives the verdict; `rerun` runs the detector again, its code only in isolation (`served`,
`serve`); `counter` checks counter-claims; `record` writes the rungs reached.
"""
