"""A run as a whole: session, run folder, gallery, estimate, submission folder."""
