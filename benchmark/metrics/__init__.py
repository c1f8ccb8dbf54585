"""Metrics: pure functions on NumPy arrays. This table is all that importing the package loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.registry import Registry

if TYPE_CHECKING:
    from benchmark.metrics.outcome import Metric

METRICS: Registry[Metric] = Registry(
    "metric",
    {
        "auroc": "benchmark.metrics.ranking:AUROC",
        "auroc_robust": "benchmark.metrics.ranking:AUROC_ROBUST",
        "average_precision": "benchmark.metrics.ranking:AVERAGE_PRECISION",
        "f1_max": "benchmark.metrics.ranking:F1_MAX",
        "f1": "benchmark.metrics.threshold:F1",
        "flag_everything_f1": "benchmark.metrics.threshold:FLAG_EVERYTHING_F1",
        "g_mean": "benchmark.metrics.threshold:G_MEAN",
        "balanced_accuracy": "benchmark.metrics.threshold:BALANCED_ACCURACY",
        "mcc": "benchmark.metrics.threshold:MCC",
        "brier": "benchmark.metrics.proper:BRIER",
        "brier_reliability": "benchmark.metrics.proper:BRIER_RELIABILITY",
        "brier_resolution": "benchmark.metrics.proper:BRIER_RESOLUTION",
        "nll": "benchmark.metrics.proper:NLL",
        "ece": "benchmark.metrics.calibration_error:ECE",
        "ece_under_attack": "benchmark.metrics.calibration_error:ECE_UNDER_ATTACK",
        "ece_width": "benchmark.metrics.calibration_error:ECE_WIDTH",
        "ece_expected": "benchmark.metrics.calibration_error:ECE_EXPECTED",
        "adaptive_calibration_error": "benchmark.metrics.calibration_error:ACE",
        "mce": "benchmark.metrics.calibration_error:MCE",
        "ece_prevalence_1": "benchmark.metrics.calibration_error:ECE_PREVALENCE_1",
        "ece_prevalence_5": "benchmark.metrics.calibration_error:ECE_PREVALENCE_5",
        "ece_prevalence_10": "benchmark.metrics.calibration_error:ECE_PREVALENCE_10",
        "ece_prevalence_50": "benchmark.metrics.calibration_error:ECE_PREVALENCE_50",
        "ece_prevalence_1_corrected": "benchmark.metrics.calibration_error:ECE_PREVALENCE_1_CORRECTED",
        "ece_prevalence_5_corrected": "benchmark.metrics.calibration_error:ECE_PREVALENCE_5_CORRECTED",
        "ece_prevalence_10_corrected": "benchmark.metrics.calibration_error:ECE_PREVALENCE_10_CORRECTED",
        "ece_prevalence_50_corrected": "benchmark.metrics.calibration_error:ECE_PREVALENCE_50_CORRECTED",
        "entropy_auroc": "benchmark.metrics.uncertainty:ENTROPY_AUROC",
        "entropy_fpr95": "benchmark.metrics.uncertainty:ENTROPY_FPR95",
        "ambiguity_auroc": "benchmark.metrics.ambiguity:AMBIGUITY_AUROC",
        "ece_expert": "benchmark.metrics.ambiguity:ECE_EXPERT",
        "aurc": "benchmark.metrics.uncertainty:AURC",
        "augrc": "benchmark.metrics.uncertainty:AUGRC",
        "coverage": "benchmark.metrics.uncertainty:COVERAGE",
        "set_size": "benchmark.metrics.uncertainty:SET_SIZE",
        "support_coverage": "benchmark.metrics.uncertainty:SUPPORT_COVERAGE",
        "pixel_auroc": "benchmark.metrics.pixel:PIXEL_AUROC",
        "pixel_average_precision": "benchmark.metrics.pixel:PIXEL_AVERAGE_PRECISION",
        "pixel_f1_max": "benchmark.metrics.pixel:PIXEL_F1_MAX",
        "aupro": "benchmark.metrics.pixel:AUPRO_30",
        "aupro_5": "benchmark.metrics.pixel:AUPRO_5",
    },
    "trustad.metrics",
)
