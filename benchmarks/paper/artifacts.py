"""Han, Wallace and Tsvetkov (2020): do influential rows show the artifact a model has learned?

Enron spam, bag of words, logistic regression. A word that is in no mail is put into half of the
spam of the training set, and into ham of the test set, which the model then takes for spam. Is
that word found, by the rows that such test mails rest on? Published, for word overlap in natural
language inference: the most influential examples have the artifact more often than others, and
feature saliency alone does not say why.

    python benchmarks/paper/artifacts.py --data DIR [--quick] [--runs 10]
"""

import numpy as np
from experiment import Experiment, axes, load_enron
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from skinfluence import Influence
from skinfluence.cleaning import artifacts
from skinfluence.pipeline import make_pipeline

WORD, STRENGTH = "plantedword", 0.1


def main():
    experiment = Experiment(
        "artifacts", "Han et al. (2020), data artifacts", __doc__, runs=(10, 2), mails=(1000, 400)
    )
    args = experiment.args
    texts, y = load_enron(args.data)
    ranks, coefs, lifts, errors, shares = [], [], [], [], []
    for run in range(args.runs):
        rng = np.random.default_rng(run)
        order = rng.permutation(len(y))
        train, test = order[: args.mails], order[args.mails : args.mails + 400]
        marked = rng.random(args.mails) < 0.5 * y[train]
        mails = [
            f"{texts[i]} {WORD}" if m else texts[i] for i, m in zip(train, marked, strict=True)
        ]
        model = make_pipeline(
            CountVectorizer(min_df=5, binary=True),
            LogisticRegression(C=STRENGTH, tol=1e-8, max_iter=2000),
        ).fit(mails, y[train])
        ham = [f"{texts[i]} {WORD}" for i in test if y[i] == 0]
        wrong = [one for one, label in zip(ham, model.predict(ham), strict=True) if label == 1]
        plain = model.predict([texts[i] for i in test if y[i] == 0])
        errors.append((plain.mean(), len(wrong) / len(ham)))
        found = artifacts(Influence(model, mails, y[train]), wrong, np.zeros(len(wrong), int))
        table = found.table.set_index("feature")
        solved = table["effect"].dropna()
        ranks.append(int(solved.argsort().argsort()[WORD]) + 1 if WORD in solved else 99)
        coefs.append(rank_of_coefficient(model))
        lifts.append(table.loc[WORD, "lift"])
        size = np.abs(Influence(model, mails, y[train]).influence_up_loss(wrong, [0] * len(wrong)))
        top = np.argsort(-size.mean(axis=0))[:50]
        shares.append((marked[top].mean(), marked.mean()))
        experiment.say(f"run {run}: rank {ranks[-1]}, lift {lifts[-1]:.1f}")
    plain, misled = np.mean(errors, axis=0)
    experiment.claim(
        "ham taken for spam: as it is, with the word", "", f"{plain:.1%}, {misled:.1%}",
        holds=misled > plain,
    )  # fmt: skip
    experiment.claim(
        "mails with the artifact among the 50 most influential, and among all", "more often",
        "{:.0%}, {:.0%}".format(*np.mean(shares, axis=0)),
        f"lift {np.mean(lifts):.1f}", np.mean(lifts) > 1,
    )  # fmt: skip
    first = sum(rank == 1 for rank in ranks)
    experiment.claim(
        f"runs of {args.runs} in which the artifact misleads most, of all words", "",
        f"by coefficient {sum(rank == 1 for rank in coefs)}", f"by `effect` {first}",
        first >= 0.9 * args.runs,
    )  # fmt: skip
    figure, (row,) = axes(1, width=7)
    # Words of other people's mails stay where they are.
    found.table.loc[found.table["feature"] != WORD, "feature"] = "another word"
    found.plot(ax=row[0])
    experiment.save(figure)


def rank_of_coefficient(model):
    names = list(model[0].get_feature_names_out())
    return int((model[-1].coef_[0] > model[-1].coef_[0, names.index(WORD)]).sum()) + 1


if __name__ == "__main__":
    main()
