"""Classifiers that are a function of sums over their rows: naive Bayes, discriminants, neighbours."""
