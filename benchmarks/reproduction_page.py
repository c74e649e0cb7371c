"""`docs/reproduction.md` from measurements: the paper's tables, its figures beside ours.

A figure is the mean over all exemplars and seeds, ± the deviation between seeds of the mean over exemplars. No figure
of ours stands in this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from optimiser import KEY, loss_of, seconds_of
from records import Record

from texsynth.optimise.rules import RULES

Lines = dict[str, list[Record]]

MISSING = "not measured"
HEAD = """\
# The paper's tables beside ours

Chen, Zhu and Qian, "Muon-Accelerated Attention Distillation for Real-Time Edge Synthesis via Optimized Latent \
Diffusion", claims what stands under "paper" here. This page is written by `python benchmarks/reproduce.py` from the \
measurements in [docs/reproduction](reproduction/); it has no other source.

**What differs in all tables.** The paper distils with a pretrained Stable Diffusion on a GPU. There are no such \
weights here: the attention is that of the closed-form exemplar score ([method](method.md)), one layer for each patch \
size, on a CPU. FID needs Inception weights and many images: d stands in its place, the texture distance to the \
exemplar over that between its halves (0 is best). The paper's figures are thus not comparable with ours in size, only \
in direction: whether a part helps, and by how much.

**The same for every row.** Exemplars, seeds and steps; each table says how many. ± is the deviation between seeds, \
where there is more than one. Rates of steps are chosen on other materials ({tuning}). Seconds are those of one core \
({processor}).
"""
ABLATIONS = """\
## Setting of tables II, IV and VI

A texture of 256 texels is split in halves; 16 x 16 tokens of one half are made from noise, in 40 steps. Style: the \
other half. Content: the truth, reduced 8 times. Three layers (patches of 1, 3 and 5 tokens). Loss: style and content, \
half each; SSIM: to the truth, which no row has seen, nor d. A content that is merely enlarged has {interpolated}. \
{extent}
"""
TEXT_CLAIMS = """\
## Claims of the text

| claim | paper | here |
|---|---|---|
| bytes exchanged in distributed training | 65 % fewer | not run here: one machine, no training on several GPUs |
| bytes streamed | 63 % fewer | measured by `benchmarks/streaming.py`, see [streaming](streaming.md) |
| an edit reaches a collaborator | 11 ms | not run here |
| frames a second on the edge device; seconds an image | 24; 10 s | not run here: no Jetson |
| multiply-adds by structural pruning of channels | 60 % fewer at FID + 0.5 | not run here: table VI leaves out layers |
"""


def page(lines: Lines, tuning: Sequence[str], machine: dict[str, Any]) -> str:
    """Markdown; a table without measurements says so."""
    head = HEAD.format(tuning=", ".join(tuning), processor=machine["processor"])
    parts = [head, *_ablations(lines["ablations"]), _optimiser(lines["optimiser"]), _guided(lines["guided"])]
    return "\n".join([*parts, TEXT_CLAIMS])


def _ablations(lines: list[Record]) -> list[str]:
    if not lines:
        return [f"## Tables II, IV and VI\n\n{MISSING}.\n"]
    by_name = _grouped(lines, "variant")
    setting = ABLATIONS.format(interpolated=_interpolated(by_name), extent=_extent(lines))
    return [setting, _table_iv(by_name), _table_ii(by_name), _table_vi(by_name)]


def _interpolated(by_name: Lines) -> str:
    found = by_name.get("enlarged content")
    return MISSING if found is None else f"SSIM {_figure(found, 'ssim')}, d {_figure(found, 'd', 2)}"


def _table_iv(by_name: Lines) -> str:
    rows = [
        ("AD with Adam", "30.2 s, 12.1 GB, SSIM .812, FID 32.7"),
        ("AD with Muon, channels", "10.1 s, 7.3 GB, SSIM .845, FID 27.9 (form not named)"),
        ("AD with Muon, planes", "-"),
        ("AD with Muon, patches", "-"),
        ("sampling from the content", "-"),
        ("unguided sampling", "-"),
    ]
    table = _ablation_table(by_name, rows)
    adam, muon = by_name["AD with Adam"], _best(by_name, "loss", "AD with Muon")
    verdict = (
        f"At the same number of steps {muon} has a loss of {_mean(by_name[muon], 'loss') / _mean(adam, 'loss'):.2f} of "
        f"Adam's, an SSIM of {_mean(by_name[muon], 'ssim') - _mean(adam, 'ssim'):+.3f} against it, and takes "
        f"{_mean(by_name[muon], 'seconds') / _mean(adam, 'seconds'):.2f} of its time. Memory is not compared: a rule's "
        "state is one or two latents, a few hundred kilobytes here."
    )
    return f"## Table IV: Adam against Muon\n\n{table}\n\n{verdict}\n"


def _table_ii(by_name: Lines) -> str:
    rows = [
        ("AD with Adam", "SSIM .812, 15.2 h"),
        ("AD with Muon, channels", "-"),
        ("+ mask", ".828, 10.5 h"),
        ("+ curriculum", ".846, 9.8 h"),
        ("+ projection and conflict: Muon-AD", ".872, 7.1 h"),
        ("Muon-AD without projection", "-"),
        ("Muon-AD without curriculum", "-"),
        ("Muon-AD without mask", "-"),
        ("Muon-AD without conflict removal", "-"),
        ("Muon-AD with PCGrad (no threshold)", "-"),
    ]
    table = _ablation_table(by_name, rows)
    full = by_name["+ projection and conflict: Muon-AD"]
    effects = []
    for part in ("projection", "curriculum", "mask", "conflict removal"):
        without = by_name[f"Muon-AD without {part}"]
        gained = {key: _mean(full, key) - _mean(without, key) for key in ("ssim", "d")}
        slower = _mean(full, "seconds") / _mean(without, "seconds")
        effects.append(f"{part}: SSIM {gained['ssim']:+.3f}, d {gained['d']:+.2f}, time x {slower:.2f}")
    told = (
        f"What each part adds to the others: {'; '.join(effects)}. Gradients were in conflict (cosine below -0.5) in "
        f"{100 * _mean(full, 'conflicts'):.1f} % of the steps, and below 0, where PCGrad acts, in "
        f"{100 * _mean(by_name['Muon-AD with PCGrad (no threshold)'], 'conflicts'):.1f} %. The paper's hours are of "
        "training; ours are seconds of one distillation."
    )
    return f"## Table II: the parts\n\n{table}\n\n{told}\n"


def _table_vi(by_name: Lines) -> str:
    rows = [
        ("Muon-AD without mask", "0 % pruned: 17.2 TFLOP, FID 25.3"),
        ("+ projection and conflict: Muon-AD", "60 %: 6.9 TFLOP, FID 27.9"),
        ("static pruning: patches 1 and 3", "40 %: 10.3 TFLOP, FID 26.2"),
        ("static pruning: patch 3", "60 %, fixed ratio: FID 28.1, layer drop: 27.5; 80 %: 3.4 TFLOP, FID 34.6"),
    ]
    table = _ablation_table(by_name, rows, computed=True)
    masked, static = by_name["+ projection and conflict: Muon-AD"], _best(by_name, "d", "static pruning")
    verdict = (
        f"The masks leave out {100 * (1 - _mean(masked, 'computed')):.0f} % of the layers' work; d is "
        f"{_mean(masked, 'd') - _mean(by_name['Muon-AD without mask'], 'd'):+.2f} against none left out, and "
        f"{_mean(masked, 'd') - _mean(by_name[static], 'd'):+.2f} against {static}. The paper prunes channels of a "
        "network; here whole layers are left out, by the entropy of their attention or always the same ones."
    )
    return f"## Table VI: leaving out work\n\n{table}\n\n{verdict}\n"


def _ablation_table(by_name: Lines, rows: Sequence[tuple[str, str]], computed: bool = False) -> str:
    heads = ["", *(["layers left out"] if computed else []), "loss", "SSIM", "d", "s", "paper"]
    table = [_row(heads), _row(["---"] * len(heads))]
    for name, claim in rows:
        found = by_name.get(name)
        if found is None:
            table.append(_row([name, *[MISSING] * (len(heads) - 2), claim]))
            continue
        left_out = [f"{100 * (1 - _mean(found, 'computed')):.0f} %"] if computed else []
        figures = [_figure(found, "loss"), _figure(found, "ssim"), _figure(found, "d", 2), _figure(found, "seconds", 2)]
        table.append(_row([name, *left_out, *figures, claim]))
    return "\n".join(table)


def _optimiser(lines: list[Record]) -> str:
    title = "## Table V: steps to the same loss\n\n"
    runs = _grouped(lines, "start").get("noise", [])
    whole = {rule: _longest(found) for rule, found in _grouped(runs, "rule").items() if rule != "sampling"}
    if whole.keys() != RULES.keys() or len({len(found) for found in whole.values()}) > 1:
        return f"{title}{MISSING}: `benchmarks/optimiser.py --csv` has not ended.\n"
    steps = int(whole["adam"][0]["steps"])
    heads = ["rule", f"loss after {steps} steps", "d", "s", "fewest steps to Adam's loss", "s"]
    table = [_row(heads), _row(["---"] * len(heads))]
    shares = {}
    for rule, found in whole.items():
        quick = _fewest(_grouped(runs, "rule")[rule], loss_of(whole["adam"]))
        shown = ["not reached", "-"] if quick is None else [quick[0]["steps"], f"{seconds_of(quick):.2f}"]
        if quick is not None and rule.startswith("muon"):
            shares[rule] = int(quick[0]["steps"]) / steps
        figures = [f"{loss_of(found):.3f}", _figure(found, "d", 2), f"{seconds_of(found):.2f}", *shown]
        table.append(_row([rule, *figures]))
    best = min(shares, key=lambda rule: shares[rule]) if shares else None
    told = (
        "No form of Muon reaches Adam's loss." if best is None else f"The best form, {best}, needs {shares[best]:.2f}."
    )
    return (
        f"{title}Style alone, from noise ([Muon-AD](muon_ad.md) has the setting); loss: geometric mean. "
        f"{_extent(whole['adam'])}\n\n"
        + "\n".join(table)
        + "\n\nThe paper's three rows have 2700, 1800 and 1200 iterations, and Muon a third of Adam's time; our bar "
        f"was a half of Adam's steps. {told}\n"
    )


def _longest(lines: list[Record]) -> list[Record]:
    most = max(int(line["steps"]) for line in lines)
    return [line for line in lines if int(line["steps"]) == most]


def _fewest(lines: list[Record], target: float) -> list[Record] | None:
    """Of one rule: the runs of the fewest steps whose loss is `target` or lower."""
    by_steps = _grouped(lines, KEY[4])
    most = max(len(found) for found in by_steps.values())
    reached = [steps for steps, found in by_steps.items() if len(found) == most and loss_of(found) <= target]
    return by_steps[min(reached, key=int)] if reached else None


def _guided(lines: list[Record]) -> str:
    title = "## Table XIV: MCR and ADF by guided regeneration\n\n"
    if not lines:
        return f"{title}{MISSING}.\n"
    by_name = _grouped(lines, "method")
    claims = {"restyle, content 1": "Muon-AD: 89.3 %, .79", "unguided": "SD-3D: 72.1 %, .68"}
    heads = ["", "runs", "MCR, %", "ADF", "SSIM", "d", "sharpness", "s", "paper"]
    table = [_row(heads), _row(["---"] * len(heads))]
    for name, found in by_name.items():
        figures = [_figure(found, "mcr", 1), _figure(found, "adf"), _figure(found, "ssim"), _figure(found, "d", 2)]
        rest = [_figure(found, "sharpness", 2), _figure(found, "seconds", 1), claims.get(name, "-")]
        table.append(_row([name, f"{len(found)}", *figures, *rest]))
    setting = (
        "Each texture at its own size (three of 2048 texels, eight of 1024, one of 1024 x 512): style is one half, "
        "the other is made again from the texture reduced 8 times and compared with the truth texel by texel. MCR: "
        "tiles of 256 texels, 5 levels, 5 %. ADF: on a plane at oblique incidence, exact footprints. Albedo. The paper "
        f"compares with renders of its own scenes, which are not public. {_extent(lines)}\n\n"
    )
    return f"{title}{setting}" + "\n".join(table) + f"\n\n{MEANING}\n{_verdicts(by_name)}\n\n{_each(by_name)}\n"


MEANING = """\
What the content leaves open cannot be known: texel by texel a sharp guess is further from the truth than the mean of \
all guesses, which is blurred. MCR and ADF compare texel by texel and so favour what is blurred, d and sharpness what \
looks like the material; neither alone says which is better. "Content's tone": the result's eighth is made that of the \
content, in linear light, as `--tone 1` does. "Faithful": the asset itself with the mean \
of the detail that may lie beneath it, by attention to the exemplar without sampling (`--faithful 1`). A mean is \
smoother than what it is the mean of: its sharpness says by how much. \
"AD with Adam": in windows of 256 texels, one layer, 12 steps from the content, which is what 2K allow on a CPU. \
"Unguided" is the row of SD-3D, which we do not have. A tile counts at a level below an error of 5 %; the two coarsest \
levels are known from the content, the three finest are not. Where "faithful" equals "Lanczos", leather is within 5 % \
at every level by either, and on the others the finest three levels miss it by both: on bark, bricks, onyx, rock, \
rusted metal and pebbles the error of the nearest of them is 7.3 to 11.0 % by "faithful" with 32,768 keys, 8.2 to \
13.8 % by "Lanczos" (means over tiles), and one half of these exemplars tells 1 to 17 % of the variance of the other's \
detail; half the error needs 75 %. Means of rows with \
fewer runs are over fewer exemplars: compare those line by line.
"""


def _verdicts(by_name: Lines) -> str:
    told = []
    for ours in ("restyle, content 1", "restyle, content 1, tone 1", "restyle, faithful 1"):
        for other in ("Lanczos", "Lanczos, content's tone", "AD with Adam"):
            if ours in by_name and other in by_name:
                wins = {key: _wins(by_name[ours], by_name[other], key) for key in ("mcr", "adf")}
                told.append(f"- {ours} against {other}: " + "; ".join(f"{key.upper()} {wins[key]}" for key in wins))
    return "Exemplar by exemplar:\n\n" + "\n".join(told)


def _wins(ours: list[Record], other: list[Record], key: str) -> str:
    one, two = (
        {name: _mean(found, key) for name, found in _grouped(each, "exemplar").items()} for each in (ours, other)
    )
    both = [name for name in one if name in two]
    above, equal = sum(one[name] > two[name] for name in both), sum(one[name] == two[name] for name in both)
    return f"above on {above} of {len(both)}, equal on {equal}"


def _each(by_name: Lines) -> str:
    names = list(by_name)
    heads = ["MCR % / ADF", *names]
    table = [_row(heads), _row(["---"] * len(heads))]
    for exemplar in dict.fromkeys(line["exemplar"] for found in by_name.values() for line in found):
        cells = []
        for name in names:
            found = [line for line in by_name[name] if line["exemplar"] == exemplar]
            cells.append(f"{_mean(found, 'mcr'):.0f} / {_mean(found, 'adf'):.3f}" if found else "-")
        table.append(_row([exemplar, *cells]))
    return "\n".join(table)


def _grouped(lines: list[Record], field: str) -> Lines:
    groups: Lines = {}
    for line in lines:
        groups.setdefault(line[field], []).append(line)
    return groups


def _best(by_name: Lines, key: str, begins: str) -> str:
    """The name that begins so and has the lowest mean."""
    return min((name for name in by_name if name.startswith(begins)), key=lambda name: _mean(by_name[name], key))


def _mean(lines: list[Record], key: str) -> float:
    return mean(float(line[key] or 0) for line in lines)


def _figure(lines: list[Record], key: str, digits: int = 3) -> str:
    seeds = [_mean(found, key) for found in _grouped(lines, "seed").values()]
    spread = f" ± {stdev(seeds):.{digits}f}" if len(seeds) > 1 else ""
    return f"{_mean(lines, key):.{digits}f}{spread}"


def _extent(lines: list[Record]) -> str:
    exemplars, seeds = ({line[field] for line in lines} for field in ("exemplar", "seed"))
    return f"{_counted(len(exemplars), 'exemplar')}, {_counted(len(seeds), 'seed')}."


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
