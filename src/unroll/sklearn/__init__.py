"""Estimators of scikit-learn for texts and tokens. Training needs torch, predicting does not."""

from unroll.sklearn.classifier import TextClassifier as TextClassifier
from unroll.sklearn.estimator import InputError as InputError
from unroll.sklearn.tagger import TokenTagger as TokenTagger

__all__ = ["InputError", "TextClassifier", "TokenTagger"]
