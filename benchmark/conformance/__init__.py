"""Conformance checks that ship with TrustAD, for its own detectors and for everyone else's.

from benchmark.conformance import check_detector
for result in check_detector(lambda: MyDetector(backbone="embedded")):
    print(result.status, result.name, result.detail)
"""

from benchmark.conformance.detector import CheckResult, check_detector, detector_factory

__all__ = ["CheckResult", "check_detector", "detector_factory"]
