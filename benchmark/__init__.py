"""The TrustAD harness: contracts, data sets, protocol, planner, metrics, results and command line."""
