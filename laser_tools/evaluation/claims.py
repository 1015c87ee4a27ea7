"""What is to be shown on MicroScenes (docs/microscenes.md), from a bench's report: met or missed.

Differences are LASER's accuracy minus another method's on the same questions, with a 95 % interval
and the p-value of McNemar's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from laser_tools.evaluation import metrics
from laser_tools.evaluation.report import OVERALL, BenchReport, Claim

CROP_TYPES = ("reading", "neighbour reading", "habit", "tiny")  # answered from a crop
P_GAIN, P_HARM = 0.01, 0.05
MAX_COST = 0.01  # that VAT may cost a type
MIN_CLOSED = 0.9
MAX_ECE = 0.02
MAX_NONE_CONFIDENCE, MIN_NONE_SAID, MAX_ABSTAINED = 0.2, 0.95, 0.03


def claims(report: BenchReport) -> dict[str, Claim]:
    """Every claim whose methods and question types were run, by name."""
    made = {
        "reading": _gain(report, "plain", ["reading"], 0.5),
        "tiny": _gain(report, "one-crop", ["tiny"], 0.4),
        "vat": _gain(report, "without-vat", ["habit"], 0.05, P_GAIN),
        "vat_cost": _cost(report, "without-vat", MAX_COST),
        "vaq": _gain(report, "best-layer", ["reading", "neighbour reading"], 0.05, P_GAIN),
        "contrast": _gain(report, "raw-attention", CROP_TYPES, 0.05),
        "contrast_aggregation": _aggregation(report),
        "two_places": _gain(report, "plain", ["same label"], 0.3),
        "two_places_one_crop": _gain(report, "one-crop", ["same label"], 0.2),
        "no_harm": _no_harm(report),
        "gap_closed": _gap_closed(report),
        "oracle_ceiling": _ceiling(report),
        "none_confidence": _none_confidence(report),
        "none_said": _none_said(report),
        "none_cost": _answerable_abstained(report),
        "ece": _ece(report),
    }
    return {name: claim for name, claim in made.items() if claim is not None}


def _gain(
    report: BenchReport, other: str, kinds: Sequence[str], wanted: float, p: float | None = None
) -> Claim | None:
    """LASER is right more often by `wanted`, a share of the questions of `kinds` together."""
    against = report.laser_against.get(other, {})
    if not set(kinds) <= set(against):
        return None
    wins, losses = (sum(getattr(against[kind], of) for kind in kinds) for of in ("wins", "losses"))
    found = difference(wins, losses, sum(_n(report, kind) for kind in kinds))
    text = f">= {wanted:+.2f}" + (f", p < {p}" if p else "")
    met = found.value >= wanted and (p is None or (found.p is not None and found.p < p))
    return found.model_copy(update={"wanted": text, "met": met})


def difference(wins: int, losses: int, n: int) -> Claim:
    """The difference of two shares of the same `n` questions, with Wald's interval for pairs."""
    value = (wins - losses) / n
    half = metrics.Z95 * math.sqrt(max(wins + losses - (wins - losses) ** 2 / n, 0.0)) / n
    return Claim(
        value=value,
        low=value - half,
        high=value + half,
        p=metrics.sign_test(wins, losses),
        wanted="",
        met=False,
    )


def _cost(report: BenchReport, other: str, most: float) -> Claim | None:
    """The largest loss of a type against `other` is at most `most`."""
    losses = {kind: difference(*_pair(report, other, kind)) for kind in _kinds(report, other)}
    if not losses:
        return None
    worst = min(losses, key=lambda kind: losses[kind].value)
    found = losses[worst]
    return found.model_copy(
        update={
            "wanted": f">= {-most:+.2f} on every type",
            "met": found.value >= -most,
            "at": worst,
        }
    )


def _no_harm(report: BenchReport) -> Claim | None:
    """On no type is LASER worse than plain asking, one-sided."""
    harms = {kind: one_sided(*_pair(report, "plain", kind)[:2]) for kind in _kinds(report, "plain")}
    if not harms:
        return None
    worst = min(harms, key=lambda kind: harms[kind])
    found = difference(*_pair(report, "plain", worst))
    return found.model_copy(
        update={
            "p": harms[worst],
            "wanted": f"one-sided p >= {P_HARM} on every type",
            "met": harms[worst] >= P_HARM,
            "at": worst,
        }
    )


def one_sided(wins: int, losses: int) -> float:
    """The exact chance of so few wins among wins and losses, if neither is likelier."""
    n = wins + losses
    return sum(math.comb(n, k) for k in range(wins + 1)) / (1 << n)


def _aggregation(report: BenchReport) -> Claim | None:
    shares = report.attention_aggregation
    if not {"contrastive", "raw"} <= set(shares):
        return None
    value = shares["contrastive"] - shares["raw"]
    return Claim(value=value, wanted=">= +0.05", met=value >= 0.05)


def _gap_closed(report: BenchReport) -> Claim | None:
    closed = report.gap_closed.get(OVERALL)
    if closed is None:
        return None
    return Claim(value=closed, wanted=f">= {MIN_CLOSED}", met=closed >= MIN_CLOSED)


def _ceiling(report: BenchReport) -> Claim | None:
    """On no type is LASER better than the oracle, one-sided."""
    pairs = {kind: _pair(report, "oracle", kind) for kind in _kinds(report, "oracle")}
    if not pairs:
        return None
    chances = {kind: one_sided(losses, wins) for kind, (wins, losses, _) in pairs.items()}
    worst = min(chances, key=lambda kind: chances[kind])
    return difference(*pairs[worst]).model_copy(
        update={
            "p": chances[worst],
            "wanted": f"one-sided p >= {P_HARM} on every type",
            "met": chances[worst] >= P_HARM,
            "at": worst,
        }
    )


def _none_confidence(report: BenchReport) -> Claim | None:
    value = _laser(report, "confidence").get("none")
    if value is None:
        return None
    return Claim(value=value, wanted=f"<= {MAX_NONE_CONFIDENCE}", met=value <= MAX_NONE_CONFIDENCE)


def _none_said(report: BenchReport) -> Claim | None:
    value = _laser(report, "said_so").get("none")
    return None if value is None else _share(value, _n(report, "none"), ">=", MIN_NONE_SAID)


def _answerable_abstained(report: BenchReport) -> Claim | None:
    shares = {k: v for k, v in _laser(report, "abstained").items() if _answerable(k)}
    if not shares or "none" not in _laser(report, "abstained"):
        return None
    n = sum(_n(report, kind) for kind in shares)
    value = sum(share * _n(report, kind) for kind, share in shares.items()) / n
    return _share(value, n, "<=", MAX_ABSTAINED)


def _ece(report: BenchReport) -> Claim | None:
    ece = report.calibration.ece if report.calibration else None
    return None if ece is None else Claim(value=ece, wanted=f"<= {MAX_ECE}", met=ece <= MAX_ECE)


def _share(value: float, n: int, relation: str, wanted: float) -> Claim:
    low, high = metrics.wilson(value * n, n)
    met = value >= wanted if relation == ">=" else value <= wanted
    return Claim(value=value, low=low, high=high, wanted=f"{relation} {wanted}", met=met)


def _laser(report: BenchReport, of: str) -> Mapping[str, float]:
    found: Mapping[str, float] = getattr(report.methods["laser"], of) if _ran(report) else {}
    return found


def _ran(report: BenchReport) -> bool:
    return "laser" in report.methods


def _pair(report: BenchReport, other: str, kind: str) -> tuple[int, int, int]:
    paired = report.laser_against[other][kind]
    return paired.wins, paired.losses, _n(report, kind)


def _kinds(report: BenchReport, other: str) -> list[str]:
    """The question types and kinds of counting."""
    kinds = report.laser_against.get(other, {})
    return [kind for kind in kinds if kind != OVERALL]


def _answerable(kind: str) -> bool:
    return kind not in (OVERALL, "none") and "(" not in kind


def _n(report: BenchReport, kind: str) -> int:
    return next(iter(report.methods.values())).n[kind]
