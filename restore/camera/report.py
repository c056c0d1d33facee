"""The report of a calibration: plots, a table and plain words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from restore.camera.evidence import LEVELS, Evidence
from restore.camera.frames import repaired
from restore.camera.plot import COLOURS, Line, chart, shading
from restore.camera.profile import Profile
from restore.camera.warnings import GOOD_COUNT
from restore.errors import WriteError

_NAMES = {"real": "held-out darks", "gaussian": "Gaussian", "eld": "Tukey-lambda", "pnnp": "proxy"}
_GOOD_KLD = 1.5e-3
TEXT = "report.md"
"""Name of the report's text."""


def write(profile: Profile, found: Sequence[Evidence], folder: Path) -> list[Path]:
    """Write plots as PNG and ``report.md`` into a folder, which is made; return the files.

    Raises
    ------
    WriteError
        The folder cannot be written.
    """
    pictures = {"gain_and_sigma": gain_and_sigma(profile)}
    if profile.maps is not None:
        pictures["dark_shading"] = maps(profile)
    for evidence in found:
        name = f"iso{evidence.iso:g}"
        pictures[f"quantiles_{name}"] = quantiles(evidence)
        pictures[f"histogram_{name}"] = histogram(evidence)
        pictures[f"spectrum_{name}"] = spectrum(evidence)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{name}.png" for name in pictures]
        for path, picture in zip(paths, pictures.values(), strict=True):
            picture.save(path, optimize=True)
        text = folder / TEXT
        text.write_text(words(profile, found, list(pictures)), encoding="utf-8")
    except OSError as error:
        raise WriteError(folder, f"the report cannot be written ({error.strerror or error})") from error
    return [*paths, text]


def words(profile: Profile, found: Sequence[Evidence], pictures: Sequence[str] = ()) -> str:
    """Return the report as Markdown: verdict, notes, one row an ISO, and the pictures."""
    lines = [f"# Noise of {profile.camera or 'an unnamed camera'}", "", verdict(profile, found), ""]
    lines += [f"* {note}" for note in [*profile.notes, *_about_fit(found)]]
    lines += [
        "",
        "All in DN of the raw files; KLD in nats against held-out dark frames, smaller is better.",
        "",
        "| ISO | frames | K | pixel | row | column | black off by | Tukey lambda | KLD Gaussian | Tukey | proxy |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    by_iso = {evidence.iso: evidence.kld for evidence in found}
    for noise in profile.isos:
        kld = by_iso.get(noise.iso, {})
        cells = [
            f"{noise.iso:g}",
            str(noise.frames),
            f"{noise.K:.4g}",
            f"{noise.sigma_px:.3f}",
            f"{noise.sigma_row:.3f}",
            f"{noise.sigma_col:.3f}",
            f"{np.mean(noise.black_error):+.3f}",
            f"{noise.tukey_lambda:+.3f}",
            *(f"{kld[name]:.5f}" if name in kld else "-" for name in ("gaussian", "eld", "pnnp")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    sources = sorted({noise.K_source for noise in profile.isos})
    lines += ["", f"K: {'; '.join(sources)}.", "", *regression(profile), ""]
    return "\n".join([*lines, *(f"![{name}]({name}.png)" for name in pictures), ""])


def verdict(profile: Profile, found: Sequence[Evidence]) -> str:
    """Return one sentence on whether the profile can be trusted."""
    klds = {evidence.iso: evidence.kld["pnnp"] for evidence in found if "pnnp" in evidence.kld}
    if not klds:
        return "Not checked: no dark frames were left to hold out (five or more for each ISO are needed) or no proxy."
    chance = {evidence.iso: evidence.chance for evidence in found}
    poor = [f"{iso:g}" for iso, kld in klds.items() if kld > _GOOD_KLD + chance[iso]]
    if not poor:
        most = max(chance[iso] for iso in klds)
        but = f", beside the {most:.1g} by which so few pixels differ by chance" if most > 0.1 * _GOOD_KLD else ""
        return f"Good: at every ISO checked the proxy is within {_GOOD_KLD} nats of dark frames it never saw{but}."
    missing = any(noise.frames < GOOD_COUNT for noise in profile.isos)
    advice = "shoot more dark frames" if missing else "look at the plots of these ISOs"
    return (
        f"Fair: at ISO {', '.join(poor)} the proxy is further than {_GOOD_KLD} nats, and chance, from dark frames;"
        f" {advice}."
    )


def _about_fit(found: Sequence[Evidence]) -> list[str]:
    better = [
        f"{evidence.iso:g}" for evidence in found if evidence.kld.get("pnnp", 0.0) > 1.2 * evidence.kld.get("eld", 1e9)
    ]
    return [f"at ISO {', '.join(better)} Tukey-lambda is nearer to the dark frames than the proxy"] if better else []


def regression(profile: Profile) -> list[str]:
    """Return for each gain branch the straight lines of log sigma over log K, in words."""
    lines = []
    for branch in profile.branches:
        known = [noise for noise in profile.isos if noise.iso in branch.isos]
        if len(known) < 2:
            continue
        gains = np.log([noise.K for noise in known])
        parts = []
        for name, label in (("sigma_px", "pixel"), ("sigma_row", "row"), ("tukey_sigma", "Tukey scale")):
            sigmas = np.log([max(getattr(noise, name), 1e-6) for noise in known])
            slope, bias = np.polyfit(gains, sigmas, 1)
            rest = float(np.std(sigmas - slope * gains - bias))
            parts.append(f"{label} {slope:.3f} ln K {bias:+.3f} (rest {rest:.3f})")
        lines.append(f"ISO {branch.isos[0]:g} to {branch.isos[-1]:g}, ln sigma: {'; '.join(parts)}.")
    return lines


def quantiles(evidence: Evidence) -> Pillow.Image:
    """Q-Q plot: quantiles of each model over those of held-out frames."""
    real = evidence.quantiles["real"]
    lines = [Line(real, real, "equal", (170, 170, 170), width=1.0)]
    lines += [
        Line(real, made, _NAMES[name], COLOURS[name]) for name, made in evidence.quantiles.items() if name != "real"
    ]
    title = f"Quantiles of pixel noise, ISO {evidence.iso:g}"
    levels = f"{100 * LEVELS[0]:.3f} % to {100 * LEVELS[-1]:.3f} %"
    return chart(lines, title, f"held-out dark frames, DN ({levels})", "model, DN")


def histogram(evidence: Evidence) -> Pillow.Image:
    """Histogram of whole frames, logarithmic so that the tails show."""
    seen = np.flatnonzero(evidence.real)
    span = slice(int(seen[0]) - 2, int(seen[-1]) + 3)
    middle = int(np.searchsorted(np.cumsum(evidence.real), evidence.real.sum() / 2))
    dn = np.arange(len(evidence.real), dtype=np.float64)[span] - middle
    counts = {"real": evidence.real, **evidence.made}
    lines = []
    for name, values in counts.items():
        shares = np.where(values[span] > 0, values[span] / values.sum(), np.nan)
        lines.append(Line(dn, shares, _NAMES[name], COLOURS[name], is_dots=name == "real"))
    return chart(lines, f"Dark frames, ISO {evidence.iso:g}", "DN from the median", "share of pixels", log_y=True)


def spectrum(evidence: Evidence) -> Pillow.Image:
    """Power of row means and of column means over frequency."""
    colours = {
        "real rows": (30, 30, 30),
        "made rows": (30, 90, 200),
        "real columns": (150, 150, 150),
        "made columns": (120, 180, 240),
    }
    lines = []
    for name, power in evidence.spectra.items():
        bands = max(1, len(power) // 60)
        kept = power[: len(power) // bands * bands].reshape(-1, bands)
        lines.append(Line(np.linspace(0, 0.5, len(kept)), kept.mean(axis=1), name, colours[name]))
    return chart(lines, f"Bands, ISO {evidence.iso:g}", "cycles a pixel", "power, DN squared", log_y=True)


def gain_and_sigma(profile: Profile) -> Pillow.Image:
    """K and the sigmas over ISO, with what is interpolated between."""
    lines: list[Line] = []
    shown = {"K": (150, 60, 150), "sigma_px": (30, 90, 200), "sigma_row": (214, 120, 30), "sigma_col": (40, 130, 60)}
    labels = {"K": "K, DN/e", "sigma_px": "pixel", "sigma_row": "row", "sigma_col": "column"}
    for name, colour in shown.items():
        for index, branch in enumerate(profile.branches):
            at = np.geomspace(branch.isos[0], branch.isos[-1], 40)
            values = np.array([getattr(profile.at(float(iso)), name) for iso in at])
            lines.append(Line(at, values, labels[name] if index == 0 else "", colour))
        points = [(noise.iso, getattr(noise, name)) for noise in profile.isos]
        x, y = np.array(points, np.float64).T
        lines.append(Line(x, y, "", colour, is_dots=True))
    return chart(lines, "Gain and noise", "ISO", "DN", log_x=True, log_y=True)


def maps(profile: Profile) -> Pillow.Image:
    """Dark shading at the lowest and the highest ISO."""
    assert profile.maps is not None
    fields = []
    for iso in sorted({profile.isos[0].iso, profile.isos[-1].iso}):
        field = profile.dark_shading(iso)
        fields.append((f"ISO {iso:g}", repaired(field, profile.maps.bad, len(profile.cfa))))
    return shading(fields, f"Dark shading; {len(profile.maps.bad)} bad pixels repaired")
