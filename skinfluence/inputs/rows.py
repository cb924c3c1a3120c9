"""Raw rows in the container and the types that the training rows have."""

import numpy as np


def row_like(raw, x):
    """One row of values as training rows are: a one-row frame, a list of a list, or an array.

    Parameters
    ----------
    raw : array-like of shape (n_train, n_columns)
    x : sequence or mapping
        Values in the order of the columns, or by their names.
    """
    if hasattr(raw, "iloc"):
        return _frame_row(raw, _values(raw.columns, x))
    if hasattr(raw, "schema") and hasattr(raw, "columns"):
        return type(raw)([_values(raw.columns, x)], schema=raw.schema, orient="row")
    if isinstance(raw, list):
        return [list(x)]
    # Numbers and texts together are objects, or the numbers become texts too.
    mixed = getattr(getattr(raw, "dtype", None), "kind", "") == "O"
    return np.asarray(x, dtype=object if mixed else None).reshape(1, -1)


def _values(columns, x):
    if hasattr(x, "keys"):
        lost = [name for name in columns if name not in x.keys()]
        if lost:
            raise ValueError(
                f"A row must have the columns of the training rows. Got none of {lost}."
            )
        return [x[name] for name in columns]
    values = list(x)
    if len(values) != len(columns):
        raise ValueError(f"A row must have {len(columns)} values. Got {len(values)}.")
    return values


def _frame_row(raw, values):
    # Imported by whoever made the frame.
    import pandas as pd

    cells = [_cell(pd, value, dtype) for value, dtype in zip(values, raw.dtypes, strict=True)]
    row = pd.concat(cells, axis=1)
    row.columns = raw.columns
    return row


def _cell(pd, value, dtype):
    """One value in the type of its column, or in its own where that would change it."""
    if pd.api.types.is_object_dtype(dtype) or not pd.api.types.is_scalar(value):
        return pd.Series([value], dtype=object)
    missing = bool(pd.isna(value))
    try:
        cast = pd.Series([None if missing else value]).astype(dtype)
        kept = bool(cast.isna()[0]) if missing else bool(cast[0] == value)
    except (TypeError, ValueError, OverflowError):
        kept = False
    if kept:
        return cast
    return pd.Series([np.nan if missing else value])


def with_plain_numbers(X):
    """A frame with numpy's floats in the place of nullable numbers; anything else as it is."""
    if not hasattr(X, "iloc") or np.ndim(X) != 2:
        return X
    import pandas as pd

    nullable = [
        i
        for i, dtype in enumerate(X.dtypes)
        if pd.api.types.is_extension_array_dtype(dtype)
        and (pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype))
        and not isinstance(dtype, pd.SparseDtype | pd.CategoricalDtype)
    ]
    if not nullable:
        return X
    columns = [X.iloc[:, i] for i in range(X.shape[1])]
    for i in nullable:
        values = columns[i].to_numpy(dtype=np.float64, na_value=np.nan)
        columns[i] = pd.Series(values, index=X.index)
    out = pd.concat(columns, axis=1)
    out.columns = X.columns
    return out
