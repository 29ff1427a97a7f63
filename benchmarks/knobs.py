"""What each knob was worth among the recorded recipes of `curves.csv`: `python benchmarks/knobs.py`.

Recipes were drawn at random and all trained to the end, so the mean over the recipes with a value compares values with
all else mixed. Prints a table and writes it to docs/pruning.md; what was concluded stands in docs/log.md.
"""

from collections.abc import Sequence

import numpy as np
from common import PRUNING, prose, table, write_section
from curves import load
from scipy.stats import f_oneway, spearmanr

PARTS = 4  # of a range: a quarter of the recipes each
FEW = 8  # values up to which a knob is told value by value


def main() -> None:
    """Print the table, write the section."""
    curves = load()
    worth_R = 100 * curves.objective_R
    names = sorted({name for recipe in curves.recipes for name in recipe})
    rows = [told(name, [recipe.get(name) for recipe in curves.recipes], worth_R) for name in names]
    lines = [
        "## What each knob was worth",
        "",
        *prose(
            f"""
            The {len(worth_R)} recorded recipes were drawn at random and all trained to the end: {worth_R.min():.1f} to
            {worth_R.max():.1f} % validation accuracy, median {np.median(worth_R):.1f} %. The mean over the recipes with
            a value thus compares values, with all else mixed. p is of an analysis of variance between values, or of
            Spearman's correlation with a range, which is told in quarters. Many knobs are looked at: one in twenty is
            below 0.05 by chance.
            """
        ),
        *table(("knob", "mean accuracy in % (recipes)", "p"), [row for row in rows if row]),
    ]
    print("\n".join(lines))
    write_section(PRUNING, "knobs", lines)


def told(name: str, values: Sequence[object], worth_R: np.ndarray) -> tuple[str, str, str] | None:
    """The row of a knob: groups of its values, or quarters of its range; None for one that did not vary."""
    open_R = np.array([value is not None for value in values])
    known = [value for value in values if value is not None]
    worth = worth_R[open_R]
    choices = sorted(set(known), key=lambda value: (isinstance(value, str), value))  # type: ignore[arg-type, return-value]
    if len(choices) < 2:
        return None
    if len(choices) <= FEW:
        groups = {str(choice): worth[[value == choice for value in known]] for choice in choices}
        p = float(f_oneway(*groups.values()).pvalue)
    else:
        number = np.array(known, float)
        edges = np.quantile(number, np.linspace(0, 1, PARTS + 1))
        place = np.clip(np.searchsorted(edges, number, side="right") - 1, 0, PARTS - 1)
        groups = {f"{edges[k]:.2g} to {edges[k + 1]:.2g}": worth[place == k] for k in range(PARTS)}
        p = float(spearmanr(number, worth).pvalue)
    cells = "; ".join(f"{group}: {found.mean():.1f} ({len(found)})" for group, found in groups.items())
    return f"`{name}`", cells, f"{p:.3f}"


if __name__ == "__main__":
    main()
