"""What `laser-tools visor train` tells at its end."""

from __future__ import annotations

from laser_tools.schema import Frozen


class RouterFit(Frozen):
    """Shares of examples that the router had not seen."""

    right: float  # it takes the cheapest configuration that keeps 99 % of the score
    likeliest: float  # and what always taking the commonest of them would have


class TrainReport(Frozen):
    """Losses are the logged ones, in order; a stage that was done before has those of then."""

    model: str
    n_examples: int
    cross_layers: tuple[int, ...]
    self_layers: tuple[int, ...]
    losses: dict[str, tuple[float, ...]]
    configurations: tuple[tuple[int, ...], ...]
    router: RouterFit | None = None


def summary(report: TrainReport) -> str:
    """The report as text for a terminal."""
    lines = [f"{report.model}: {report.n_examples} answers"]
    lines += [
        f"  {name:<10}loss {lost[0]:.3f} -> {lost[-1]:.3f}" for name, lost in report.losses.items()
    ]
    shown = "; ".join(",".join(map(str, active)) or "none" for active in report.configurations)
    lines.append(f"  configurations, cheapest first: {shown}")
    if report.router is not None:
        lines.append(
            f"  router     {report.router.right:.1%} take the right one "
            f"(always the commonest: {report.router.likeliest:.1%})"
        )
    return "\n".join(lines)
