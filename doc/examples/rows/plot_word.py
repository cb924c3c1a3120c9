"""
Which word is why?
==================

*A short message is taken for spam. Which training messages, and which of their words, are behind
that?* Words cannot move a little, but their weights in tf-idf can, so every word of every training
message has an influence of its own.
"""

# %%
# Twenty messages, half of them spam; a tf-idf and a logistic regression.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from skinfluence.linear_model import LogisticRegression
from skinfluence.pipeline import influence_by_name, make_pipeline

spam = [
    "win a free prize today", "free entry to win cash", "claim your free cash prize now",
    "cheap loans call now", "you win call to claim", "urgent your prize is waiting",
    "free ringtones text now", "cheap pills free delivery", "win tickets text to enter",
    "cash loans no credit check",
]  # fmt: skip
ham = [
    "see you at lunch", "are you free for lunch today", "call me when you are home",
    "the meeting is at noon", "can we meet today", "happy birthday have a nice day",
    "i will text you later", "did you win the match", "please check the report",
    "home late tonight love you",
]  # fmt: skip
texts, y = spam + ham, np.repeat([1, 0], 10)
model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=10.0)).fit(texts, y)

message = "are you free to call now"
print(f"spam with probability {model.predict_proba([message])[0, 1]:.2f}: it is not")

# %%
# Taking a word out of a training message changes the loss of our message, to first order, by its
# influence. The strongest of all words in all messages:

named = influence_by_name(model, [message], [0])
words, effects = named.top(k=3)
lines = sorted(
    (
        (effect, word, texts[row])
        for row in range(len(texts))
        for word, effect in zip(words[0, row], effects[0, row], strict=True)
        if word
    ),
    key=lambda line: -abs(line[0]),
)[:12]

# %%
# Right: words that make the loss larger, when they are taken out. They taught the model what our
# message is. Left: words that mislead it.

fig, ax = plt.subplots(figsize=(8, 4.6), layout="constrained")
for place, (effect, _, text) in enumerate(reversed(lines)):
    spammy = text in spam
    ax.barh(place, effect, color="C3" if spammy else "C0")
ax.set_yticks(
    range(len(lines)), [f"{word}  |  {text}" for _, word, text in reversed(lines)], fontsize=9
)
ax.axvline(0, color="0.4", linewidth=0.8)
ax.set_xlabel("change of the loss of our message without the word")
ax.set_title("the word  |  the message it stands in (red: spam)", fontsize=10)
plt.show()
