"""How far training rows can move a prediction without leaving a box: the attack, and the bound.

Works for any classifier with a smooth objective, and for hinge machines of two classes, behind
transformers that have a pullback. The transformers stay as fitted; the model behind them is fitted
again after every move.
"""

from skinfluence.attack.training_set import AttackResult, TrainingSetAttack
from skinfluence.attack.vulnerable import Vulnerability, vulnerability

__all__ = ["AttackResult", "TrainingSetAttack", "Vulnerability", "vulnerability"]
