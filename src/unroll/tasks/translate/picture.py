"""What a translation attended to, as a picture."""

from pathlib import Path

from unroll.errors import UserError
from unroll.files import write_atomically
from unroll.insight.plots import check_picture as check_picture
from unroll.insight.plots import drawing, encoded, shown
from unroll.tasks.translate.predict import Attended

MOST = 100
"""Pieces on a side of a picture."""


def draw_attention(what: Attended, out: Path) -> None:
    """Draw the weight of each piece of a text at each piece of its translation, which is read downwards.

    Raises UserError for an empty text, and for too many pieces.
    """
    check_picture(out)
    source, target = ([shown(piece.lstrip(" ") or piece) for piece in side] for side in (what.source, what.target))
    if not 0 < max(len(source), len(target)) <= MOST:
        raise UserError(
            f"the text has {len(source)} pieces, and its translation {len(target)}",
            allowed=f"1 to {MOST} in a picture",
            fix="choose another text, or leave --plot out; --json --attention has all weights",
        )
    with drawing():
        from matplotlib.figure import Figure

        size = (max(3.6, 1.8 + 0.3 * len(source)), max(2.8, 1.4 + 0.3 * len(target)))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(what.weights, cmap="Blues", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
        axes.set_xticks(range(len(source)), source, rotation=90 if max(map(len, source)) > 1 else 0)
        axes.set_yticks(range(len(target)), target)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("source")
        axes.set_ylabel("translation")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        figure.colorbar(image, ax=axes, label="weight", shrink=0.8)
        write_atomically(out, encoded(figure, out.suffix.lower()))
