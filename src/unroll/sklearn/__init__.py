"""Estimators of scikit-learn for texts, tokens and sequences. Training needs torch, predicting does not."""

from unroll.sklearn.classifier import TextClassifier as TextClassifier
from unroll.sklearn.estimator import InputError as InputError
from unroll.sklearn.sequences import SequenceClassifier as SequenceClassifier
from unroll.sklearn.sequences import SequenceRegressor as SequenceRegressor
from unroll.sklearn.tagger import TokenTagger as TokenTagger

__all__ = ["InputError", "SequenceClassifier", "SequenceRegressor", "TextClassifier", "TokenTagger"]
