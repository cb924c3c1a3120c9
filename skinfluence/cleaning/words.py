"""The words of a column of texts as features with names."""

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfVectorizer

from skinfluence._utils._optional import require

# Words of a column, and cells of the dense table of them.
MAX_WORDS, MAX_CELLS = 2000, 25_000_000


class Words(TransformerMixin, BaseEstimator):
    """tf-idf of the words of one column of a table, those that more than one row has.

    Attributes
    ----------
    vectorizer_ : TfidfVectorizer or None
        None where no word is in more than one row.
    """

    # skrub gives such a transformer one column at a time.
    __single_column_transformer__ = True

    def fit(self, column, y=None):
        """Learn the words of a column, a Series of texts."""
        self.fit_transform(column, y)
        return self

    def fit_transform(self, column, y=None):
        """Learn the words of a column and give their tf-idf as a table."""
        texts = column.fillna("").astype(str)
        most = max(1, min(MAX_WORDS, MAX_CELLS // max(1, len(texts))))
        self.name_ = column.name
        self.vectorizer_ = TfidfVectorizer(min_df=2, max_features=most, sublinear_tf=True)
        try:
            self.vectorizer_.fit(texts)
        except ValueError:
            # No text has a word, or none is in two rows.
            self.vectorizer_ = None
        return self.transform(column)

    def transform(self, column):
        """The tf-idf of the words of a column as a table."""
        pd = require("pandas", extra="audit")
        if self.vectorizer_ is None:
            return pd.DataFrame(index=column.index)
        values = self.vectorizer_.transform(column.fillna("").astype(str)).toarray()
        return pd.DataFrame(values, index=column.index, columns=self.get_feature_names_out())

    def get_feature_names_out(self, input_features=None):
        """``column: word`` of each feature."""
        if self.vectorizer_ is None:
            return []
        return [f"{self.name_}: {word}" for word in self.vectorizer_.get_feature_names_out()]
