"""
Your own loss
=============

*My model is not in scikit-learn. Can I still ask?* Write the loss of one row; gradients, Hessians,
leave-one-out and the effects of edits come by themselves. Here: players with strengths, and matches
that the stronger one usually wins (Bradley and Terry 1952).
"""

# %%

import autograd.numpy as anp
import matplotlib.pyplot as plt
import numpy as np

from skinfluence.m_estimation import MEstimator


def bradley_terry(strength, match, won):
    first, second = match[..., 0].astype(int), match[..., 1].astype(int)
    return anp.logaddexp(0.0, (1 - 2 * won) * (strength[first] - strength[second]))


def log_odds(strength, matches):
    return strength[matches[:, 0].astype(int)] - strength[matches[:, 1].astype(int)]


# %%
# Eight players, 240 matches, and five results that were written down the wrong way round.

rng = np.random.default_rng(0)
true = np.linspace(1.5, -1.5, 8)
matches = np.array([rng.choice(8, 2, replace=False) for _ in range(240)])
odds = true[matches[:, 0]] - true[matches[:, 1]]
won = (rng.uniform(size=240) < 1 / (1 + np.exp(-2 * odds))).astype(int)
clear = np.flatnonzero(np.abs(odds) > 1.8)
swapped = rng.choice(clear, 5, replace=False)
won[swapped] = odds[swapped] < 0

# %%
# Only differences of strengths count, so a little penalty fixes their level.

model = MEstimator(bradley_terry, 8, l2=0.1, decision=log_odds, classes=[0, 1]).fit(matches, won)
odds_unseen = model.loo_decision_function()
unseen = 1 / (1 + np.exp(np.where(won == 1, -odds_unseen, odds_unseen)))

# %%
# Matches by the probability of their result, under the model that has not seen them. The strengths
# with error bars: how far they move without any single match.

ranks = np.argsort(np.argsort(unseen))
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 4), layout="constrained")
left.scatter(ranks, unseen, s=10, color="0.6", label="match")
left.scatter(ranks[swapped], unseen[swapped], s=36, color="C3", label="written down wrongly")
left.set(xlabel="rank", ylabel="probability of the result, left out", yscale="log")
left.legend(frameon=False)
steps = model.influence_up_params()[:, 0] / -240
ends = np.abs(steps).max(axis=0)
order = np.argsort(-model.params_)
right.errorbar(range(8), model.params_[order], yerr=ends[order], fmt="o", capsize=3)
right.set_xticks(range(8), [f"player {k + 1}" for k in order], rotation=40)
right.set_ylabel("strength, and what one match can do")
plt.show()
