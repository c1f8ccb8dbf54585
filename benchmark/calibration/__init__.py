"""From scores to probabilities, thresholds and prediction sets, none of them fitted on what they are applied to."""
