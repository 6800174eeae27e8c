"""The models of tasks on the page: what each is, and what it reached on held-out examples."""

from typing import Any

from unroll.artifact.forecaster import OpenForecaster
from unroll.serve.served import ROLES, ServedClassifier, ServedModel, ServedSequences, ServedTagger, ServedTranslator


def brief(served: ServedModel) -> dict[str, Any]:
    """Return a summary of the model of a task."""
    kind, own = ROLES[type(served)].kind, _own(served)
    return {
        "name": served.name,
        "version": served.version[:12],
        "kind": kind,
        "parameters": served.parameters,
        "held_out": _held_out(served.opened.info.result or {}),
        "brief": f"{own['about']}, {served.parameters:,} weights",
        **own,
    }


def _own(served: ServedModel) -> dict[str, Any]:
    """Return what only a kind has, and `about`: what it is, in a few words."""
    if isinstance(served, ServedClassifier):
        info = served.opened.info
        return {
            "about": f"classifier, {len(info.labels):,} labels",
            "labels": len(info.labels),
            "multi_label": info.config.multi_label,
            "level": served.opened.reader.tokenizer.level,
        }
    if isinstance(served, ServedTagger):
        tags = served.opened.info.tags
        return {"about": f"tagger, {len(tags):,} tags", "tags": list(tags)}
    if isinstance(served, ServedTranslator):
        attention = served.opened.info.config.attention
        about = "translator without attention" if attention == "none" else f"translator, {attention} attention"
        return {"about": about, "attention": attention != "none"}
    assert isinstance(served, ServedSequences)
    model, channels = served.opened, list(served.channels)
    if isinstance(model, OpenForecaster):
        horizon = model.info.config.horizon
        return {
            "about": f"forecaster, {horizon:,} steps ahead", "task": served.task, "channels": channels,
            "horizon": horizon, "least": model.info.config.lags,
        }  # fmt: skip
    what = f"{len(model.info.labels):,} labels" if model.info.labels else "a number"
    return {"about": f"sequences, {what} of {len(channels):,} channels", "task": served.task, "channels": channels}


def _held_out(result: dict[str, Any]) -> str | None:
    """Return what a finished training reached, in a few words; None before its end."""
    count = result.get("valid_tokens", result.get("valid_count"))
    if count is None:
        return None
    if "valid_accuracy" in result:
        return f"{100 * result['valid_accuracy']:.1f} % right of {count:,} held out"
    if "valid_mae" in result:
        return f"mean absolute error {result['valid_mae']:.4g} of {count:,} held out"
    return f"{result['valid_nats']:.2f} nats a symbol of {count:,} pairs held out"
