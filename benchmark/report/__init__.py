"""`trustad report`: the paper's claims, tested on the evidence of any run, as one Markdown and one HTML page."""
