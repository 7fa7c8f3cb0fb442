"""Metrics: classification, BLEU, chrF, word and character error rates, equal to the usual reference packages.

    from numpylm.metrics import bleu
    bleu(["The cat sat on a mat."], ["The cat sat on the mat."]).score        # 48.89

Text metrics take what the system wrote first, then what is right. `ClassificationReport.of` takes the true labels
first, as scikit-learn does.
"""

from numpylm.metrics.bleu import BleuScore, bleu
from numpylm.metrics.chrf import ChrfScore, chrf
from numpylm.metrics.classification import ClassificationReport
from numpylm.metrics.confusion_svg import confusion_svg
from numpylm.metrics.edit_distance import ErrorRate, cer, edit_distance, wer

__all__ = [
    "BleuScore",
    "ChrfScore",
    "ClassificationReport",
    "ErrorRate",
    "bleu",
    "cer",
    "chrf",
    "confusion_svg",
    "edit_distance",
    "wer",
]
