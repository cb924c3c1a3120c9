"""The names of the demo sets, for those who say what can be asked and load nothing."""

DEMOS = ("breast-cancer", "digits", "wine")
