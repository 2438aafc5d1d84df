"""What a person sees while a run trains: a bar in a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Mapping
from typing import Any, TextIO

from tqdm import tqdm

BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class Progress:
    """A context manager.

    Args:
        total: steps of the whole run.
        initial: the step that the run was resumed from.
        unit: what the rate counts ("tokens"), as in `Task.units_per_step`.
        stream: where the progress goes; standard error by default, and messages then to standard output.
        every_seconds: least time between two lines where `stream` is not a terminal; it grows with the run to 12 times that.
        enabled: False shows nothing (processes other than the first).
    """

    def __init__(
        self,
        total: int,
        *,
        initial: int = 0,
        unit: str = "steps",
        stream: TextIO | None = None,
        every_seconds: float = 5.0,
        enabled: bool = True,
    ):
        self._total, self._initial, self._unit, self._every = total, initial, unit, every_seconds
        self._stream = stream or sys.stderr
        self._messages = stream or sys.stdout
        self._enabled = enabled
        self._known: dict[str, float] = {}
        self._start = time.monotonic()
        self._last_line = self._last_step = None
        self._bar = None
        if enabled and self._stream.isatty():
            self._bar = tqdm(total=total, initial=initial, file=self._stream, bar_format=BAR, dynamic_ncols=True, smoothing=0.1)

    def update(self, step: int, values: Mapping[str, Any] | None = None) -> None:
        """`step` steps of the run are done.

        Args:
            step: counted from the run's beginning, not from the resume.
            values: shown are loss and accuracy (also `turn/loss`), `rate` in units a second, and `mfu` in [0, 1]; the last known
                ones stay.
        """
        if not self._enabled:
            return
        self._known |= {name: float(value) for name, value in (values or {}).items() if _shown(name)}
        if self._bar is not None:
            self._bar.set_postfix_str("".join(f", {part}" for part in self._parts()).removeprefix(", "), refresh=False)
            self._bar.update(step - self._bar.n)
            return
        now = time.monotonic()
        pause = min(max(self._every, (now - self._start) / 50), 12 * self._every)
        if self._last_line is None or now - self._last_line >= pause or step >= self._total:
            self._line(step, now)

    def message(self, text: str) -> None:
        """Prints lines of their own, which do not tear the bar."""
        if not self._enabled:
            return
        if self._bar is not None:
            self._bar.write(text, file=self._messages)
        else:
            print(text, file=self._messages, flush=True)

    def close(self) -> None:
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._enabled = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self, step: int, now: float) -> None:
        if step == self._last_step:
            return
        done = step - self._initial
        remaining = (now - self._start) / done * (self._total - step) if done > 0 else None
        parts = self._parts() + ([f"ETA {duration(remaining)}"] if remaining else [])
        share = 100 * step / max(self._total, 1)
        line = f"step {step:,}/{self._total:,} ({share:.0f} %)" + (f": {', '.join(parts)}" if parts else "")
        print(line, file=self._stream, flush=True)
        self._last_line, self._last_step = now, step

    def _parts(self) -> list[str]:
        names = sorted(self._known.keys() - {"rate", "mfu"}, key=lambda name: (not name.endswith("loss"), name))
        parts = [f"{name.replace('/', ' ')} {self._known[name]:.4g}" for name in names]
        if "rate" in self._known:
            parts.append(f"{short(self._known['rate'])} {self._unit}/s")
        if "mfu" in self._known:
            parts.append(f"MFU {100 * self._known['mfu']:.1f} %")
        return parts


def short(number: float) -> str:
    """Three digits and a unit: 0.52, 71.3, 12.3k, 4.56M."""
    for factor, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * factor:
            return f"{number / factor:.3g}{unit}"
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """41s, 2:05, 3:04:05 or 2d 03:04:05."""
    days, rest = divmod(round(seconds), 86400)
    hours, minutes, left = rest // 3600, rest % 3600 // 60, rest % 60
    if days:
        return f"{days}d {hours:02}:{minutes:02}:{left:02}"
    if hours:
        return f"{hours}:{minutes:02}:{left:02}"
    return f"{minutes}:{left:02}" if minutes else f"{left}s"


def _shown(name: str) -> bool:
    return name in ("rate", "mfu") or (name.split("/")[-1] in ("loss", "accuracy") and not name.startswith("held_out/"))
