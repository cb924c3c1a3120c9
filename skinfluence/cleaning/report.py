"""The audit as one page, on which its rows can be decided about. Nothing is loaded from anywhere."""

import base64
import contextlib
import hashlib
import importlib.metadata
from pathlib import Path

import numpy as np

from skinfluence._utils._optional import require
from skinfluence.cleaning import plots
from skinfluence.cleaning.amounts import scores_of_logarithm
from skinfluence.cleaning.decisions import fingerprint_of_targets
from skinfluence.cleaning.effects import has_effects
from skinfluence.cleaning.formats import at_most, chance, number, percent, signed
from skinfluence.cleaning.neighbours import nearest, too_many
from skinfluence.cleaning.verdicts import CHANGE_FROM
from skinfluence.inspection.auditing import sources_of

# A heat map of labels is readable up to this many classes.
MAX_CONFUSION_CLASSES = 20
N_PICTURES = 24
# Rows in the table; and with those that have a suggestion, of which a page holds so many.
TOP, MAX_ROWS = 50, 500
N_NEIGHBOURS = 5
# Sources in the table and the figure.
MAX_SOURCES = 40
FIGURES = ["ranked", "effects", "depth", "reliability", "ceilings", "confusion"]
FIGURES += ["predictions", "selection", "sources"]
RANKED_BY = {
    "error_proba": "how likely the label is wrong",
    "loo_loss": "leave-one-out loss",
    "margin": "how far another class is ahead of the given one",
    "trimmed": "how likely the label is wrong, by a fit without the most suspicious rows",
    "self_influence": "how strongly the row pulls the model towards itself",
    "cleanlab": "cleanlab's label quality",
}


def render(
    audit,
    *,
    title="Label audit",
    top=None,
    details=None,
    images=None,
    verification=None,
    planted=None,
    selection=None,
    cleaning_score=None,
    command=None,
    reviewed=None,
    neighbours=True,
):
    """Render an audit as a self-contained HTML page.

    Parameters
    ----------
    audit : Audit
        What to show.
    title : str, default="Label audit"
        Heading of the page.
    top : int, default=None
        Rows in the table. By default 50 and those with a suggestion, 500 at most.
    details : DataFrame of n_samples rows, default=None
        The rows as a person knows them, shown on request under each line of the table.
    images : ndarray of shape (n_samples, height, width), default=None
        One picture per row.
    verification : DataFrame, default=None
        What `Audit.verify` returned.
    planted : ndarray of shape (n_samples,), dtype=bool, default=None
        Rows known to be wrong.
    selection : Selection, default=None
        How the penalty was chosen.
    cleaning_score : dict of str to float, default=None
        Accuracy against the truth, by what was done to the training set.
    command : str, default=None
        The command that made the report.
    reviewed : Reviewed, default=None
        The file that decisions are about. The rows and targets in memory by default.
    neighbours : bool, default=True
        Whether each row is shown with the rows nearest to it. Left out where that takes minutes.

    Returns
    -------
    page : str
        The page.
    """
    template = _template()
    counts = audit.table["action"].value_counts()
    table = _shown_rows(audit, top)
    script = _beside("review.js")
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rows = _rows(audit, table, details, images, planted, reviewed)
    if neighbours and len(audit.y) > 1 and not too_many(audit, len(table)):
        _add_neighbours(audit, rows, details, images)
    return template.render(
        title=title,
        task=audit.task,
        n_rows=len(audit.y),
        counts={action: int(counts.get(action, 0)) for action in ("relabel", "drop", "keep")},
        summary=summarise(audit),
        model=_model_name(audit.estimator),
        notes=audit.notes,
        noise_share=audit.noise_share,
        told=audit.noise is None or audit.noise.told,
        change_from=None if audit.noise is None else CHANGE_FROM + audit.noise.misfit,
        noise=_noise(audit),
        sources=_sources(audit),
        has_effects=has_effects(audit.table),
        held=audit.options["frozen"] == "accept",
        ranked_by=RANKED_BY[audit.score],
        rows=rows,
        n_unseen=int(sum(counts.get(one, 0) for one in ("drop", "relabel")))
        - int((table["action"] != "keep").sum()),
        reviewed=_about(audit, reviewed),
        # Markup: a script is not escaped. It holds nothing of the user's.
        script=require("markupsafe", extra="audit").Markup(script),
        script_hash=f"sha256-{script_hash}",
        pictures=_pictures(audit, images, planted),
        figures=_figures(audit, planted, selection),
        depth=None if planted is None else audit.depth_table(planted).to_dict("records"),
        n_planted=None if planted is None else int(np.sum(planted)),
        verification=_verification(verification),
        columns=None if selection is None else selection.columns,
        strength=None if selection is None else selection.strength,
        cleaning_score=cleaning_score,
        command=command,
        versions=_versions(),
        colors=plots.COLORS,
    )


def _beside(name):
    """The text of a file that lies beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _template():
    """The page, to be filled in: what is not there is an error, and what is filled in is escaped."""
    jinja2 = require("jinja2", extra="audit")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        thousands="{:,}".format, percent=percent, at_most=at_most, chance=chance, number=number
    )
    return environment.from_string(_beside("report.html"))


def summarise(audit):
    """Leave-one-out scores of the model as it stands, against the labels as given.

    Parameters
    ----------
    audit : Audit
        What to summarise.

    Returns
    -------
    summary : dict of str to float
        ``mean_loo_loss`` and ``loo_accuracy``; of a regressor ``loo_r2`` and ``loo_rmse``, the root mean
        squared leave-one-out residual in units of the target; of a model of its logarithm
        ``loo_r2_log`` and ``loo_factor``, too.
    """
    summary = {"mean_loo_loss": float(audit.table["loo_loss"].mean())}
    if audit.task == "classification":
        summary["loo_accuracy"] = float(np.mean(audit.loo_prediction == audit.y))
    else:
        residual = audit.y - audit.loo_prediction
        with np.errstate(invalid="ignore", divide="ignore"):
            summary["loo_r2"] = float(1 - np.mean(residual**2) / np.var(audit.y))
        summary["loo_rmse"] = float(np.sqrt(np.mean(residual**2)))
        summary |= scores_of_logarithm(audit.estimator, audit.y, audit.loo_prediction)
    return summary


def _versions():
    """Versions of what computed the numbers; ourselves left out when run from an uninstalled copy."""
    versions = {}
    for name in ("skinfluence", "scikit-learn", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _model_name(estimator):
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    return type(last).__name__


def _shown_rows(audit, top):
    """The part of the table that the page shows."""
    if top is not None:
        return audit.table.head(top)
    chosen = (audit.table["action"] != "keep") | (audit.table["rank"] <= TOP)
    return audit.table[chosen].head(MAX_ROWS)


def _about(audit, reviewed):
    """What the decisions are about, as the template shows it."""
    labels = [] if audit.classes is None else audit.classes.tolist()
    if reviewed is None:
        return {
            "file": None,
            "fingerprint": fingerprint_of_targets(audit.y, _ids(audit)),
            "target": "y",
            "labels": [str(label) for label in labels],
        }
    return {
        "file": reviewed.name,
        "fingerprint": reviewed.fingerprint,
        "target": reviewed.target,
        "labels": [str(reviewed.written.get(label, label)) for label in labels],
    }


def _ids(audit):
    """Names of the rows in the order of the training set."""
    return audit.table.sort_values("row")["id"].tolist()


def _rows(audit, table, details, images, planted, reviewed):
    """The lines of the table, as the template shows them."""
    mean = audit.table["loo_loss"].mean()
    lines = []
    for line in table.to_dict("records"):
        row, effect = line["row"], line.get("effect_of_dropping", np.nan)
        shown = {} if details is None else _shown(details.iloc[row])
        given, suggested = line["given"], line["suggested"]
        if reviewed is not None:
            given, suggested = reviewed.given[row], reviewed.written.get(suggested, suggested)
        lines.append(
            {
                **line,
                "position": row if reviewed is None else int(reviewed.rows[row]),
                "given_written": str(given),
                "suggested_written": str(suggested),
                "effect": signed(100 * effect / mean, 3),
                "helps": effect < 0,
                "planted": planted is not None and bool(planted[row]),
                "picture": None if images is None else plots.picture_uri(images[row]),
                "details": shown,
                "preview": _preview(shown),
                "cleanlab": line.get("cleanlab", ""),
                "neighbours": [],
                "twin": None,
            }
        )
    return lines


def _preview(shown):
    return " · ".join(f"{name}: {text}" for name, text in shown.items())


def _add_neighbours(audit, lines, details, images):
    """Give each line the rows that are nearest to it."""
    found, same = nearest(audit, np.array([line["row"] for line in lines]), N_NEIGHBOURS)
    ids = _ids(audit)
    labels = audit.task == "classification"
    for line, others, twins in zip(lines, found.tolist(), same.tolist(), strict=True):
        for other, twin in zip(others, twins, strict=True):
            given = audit.y[other]
            agrees = bool(given == audit.y[line["row"]])
            shown = {} if details is None else _shown(details.iloc[other])
            text = str(given) if labels else number(float(given), 4)
            line["neighbours"].append(
                {
                    "id": ids[other],
                    "given": text,
                    "short": text if len(text) <= 24 else text[:23] + "…",
                    "agrees": agrees or not labels,
                    "preview": _preview(shown)[:300],
                    "picture": None if images is None else plots.picture_uri(images[other]),
                }
            )
            if twin and not agrees:
                line["twin"] = text


def _shown(values):
    """A row of the user's table as short texts."""
    texts = {name: _text(value) for name, value in values.items()}
    return {name: text if len(text) <= 200 else text[:200] + " …" for name, text in texts.items()}


def _text(value):
    if value is None or value != value or str(value) in ("", "NaT", "<NA>"):
        return "missing"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _pictures(audit, images, planted):
    if images is None:
        return []
    flagged = audit.table[audit.table["action"] != "keep"].head(N_PICTURES)
    return [
        {
            **line,
            "picture": plots.picture_uri(images[line["row"]]),
            "planted": planted is not None and bool(planted[line["row"]]),
        }
        for line in flagged.to_dict("records")
    ]


def _figures(audit, planted, selection):
    """Data URIs of the pictures, by name; None for a picture that has nothing to show."""
    figures = dict.fromkeys(FIGURES)
    for name, draw, size in _drawings(audit, planted, selection):
        figures[name] = plots.figure_uri(draw, size=size)
    return figures


def _drawings(audit, planted, selection):
    """The pictures that have something to show: name, what draws it on axes, and its size in inches."""
    table, size = audit.table, (6.4, 3.6)
    if audit.sources is not None and len(audit.sources) <= MAX_SOURCES:
        shown = sources_of(audit)
        yield "sources", shown.plot, (6.4, 1.2 + 0.32 * len(shown.source))
    yield "ranked", plots.RankedLossDisplay.from_audit(audit, planted=planted).plot, size
    if has_effects(table):
        yield "effects", lambda ax: plots.draw_effects(ax, table), size
    if planted is not None:
        order = table["row"].to_numpy()
        yield "depth", lambda ax: plots.draw_depth(ax, order, planted), size
    if audit.task == "classification":
        codes = np.searchsorted(audit.classes, audit.y)
        yield "reliability", lambda ax: plots.draw_reliability(ax, audit.loo_proba, codes), size
        if audit.noise.claimed:
            yield "ceilings", lambda ax: plots.draw_ceilings(ax, audit), size
        some = (table["action"] != "keep").any()
        if some and 2 < len(audit.classes) <= MAX_CONFUSION_CLASSES:
            yield "confusion", lambda ax: plots.draw_confusion(ax, table, audit.classes), (6.4, 5)
    else:
        curved = "loo_factor" in summarise(audit)
        yield "predictions", lambda ax: plots.draw_predictions(ax, table, curved), size
    if selection is not None and len(selection.scores) > 1:
        scores, strength = selection.scores, selection.strength
        name = "C" if audit.task == "classification" else "1/alpha"
        yield "selection", lambda ax: plots.draw_selection(ax, scores, strength, name), size


def _sources(audit):
    """The lines of the table of sources; None without them."""
    if audit.sources is None:
        return None
    mean = audit.table["loo_loss"].mean()
    lines = []
    for line in audit.sources.head(MAX_SOURCES).to_dict("records"):
        ends = [signed(100 * line[name] / mean, 2) for name in ("effect_low", "effect_high")]
        lines.append(
            {
                **line,
                "effect": signed(100 * line["effect_of_dropping"] / mean, 2),
                "interval": " … ".join(ends),
                "helps": line["effect_high"] < 0,
            }
        )
    return lines


def _noise(audit):
    """The noise matrix as the template shows it; None without errors or with too many classes."""
    if audit.noise is None or not audit.noise.claimed or len(audit.classes) > MAX_CONFUSION_CLASSES:
        return None
    rows = zip(audit.classes, audit.noise.matrix.tolist(), strict=True)
    return {
        "classes": [str(label) for label in audit.classes],
        "rows": [
            {
                "label": str(label),
                "cells": [{"chance": c, "right": i == j} for j, c in enumerate(cells)],
            }
            for i, (label, cells) in enumerate(rows)
        ],
    }


def _verification(verification):
    if verification is None or len(verification) == 0:
        return None
    known = verification.dropna(subset=["refit_loss"])
    return {
        "rows": verification.to_dict("records"),
        "largest": float((known["difference"] / known["refit_loss"]).abs().max())
        if len(known)
        else None,
        "figure": plots.figure_uri(lambda ax: plots.draw_verification(ax, known), size=(4.6, 4.2))
        if len(known)
        else None,
    }
