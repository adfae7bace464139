"""What `match.Search` finds for targets of the benchmark: by all takes of a tone together, as another unit plays them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jxemu.ml.bench import FLOOR_UNIT, rendered
from jxemu.ml.data import HOLD
from jxemu.ml.kept import earlier, keep
from jxemu.ml.match import MatchError, Search, Target, prepare
from jxemu.render.items import Plan
from jxemu.render.spec import NAMES, TOPS, MachineSpec, Spec

JSON = "searches.json"


@dataclass(frozen=True)
class Searches:
    """Searches that try so many tones for each target; each that is done is kept in the folder, and they go on where they were stopped."""

    folder: Path
    renders: int
    seed: int

    @property
    def name(self) -> str:
        """As tables have it."""
        return f"search of {self.renders:,}"

    def found(
        self, spec: Spec, plans: Sequence[Plan], names: Sequence[str], tick: Callable[[int, int], None]
    ) -> np.ndarray:
        """The nearest tones as p (items, names). Raises OSError, and ValueError for a folder of other searches and what is not searched for."""
        if fixed := [name for name in NAMES if name not in names]:
            raise ValueError(f"a search moves all parameters, but in this dataset {', '.join(fixed)} do not vary")
        if spec.machine.circuit != MachineSpec().circuit:
            raise ValueError("a search plays the usual circuits at 25 degrees; this dataset's machine is another")
        asked = {"spec": spec.digest, "renders": self.renders, "seed": self.seed}
        rows = earlier(self.folder / JSON, asked, "list of searches")
        self.folder.mkdir(parents=True, exist_ok=True)
        for n in range(len(rows), len(plans)):
            tick(n, len(plans))
            targets, hidden = takes(spec, plans[n]), plans[n].tones()
            best = Search(targets, renders=self.renders, seed=self.seed + n, hidden=hidden).run(1)[0]
            rows.append({"values": list(best.tone.values().values()), "holds": best.holds, "apart": best.apart})
            keep(self.folder / JSON, asked, rows)
        tick(len(plans), len(plans))
        p = {HOLD: [np.mean(row["holds"]) / spec.seconds for row in rows[: len(plans)]]}
        values = np.array([row["values"] for row in rows[: len(plans)]])
        p |= dict(zip(NAMES, (values / TOPS).T, strict=True))
        return np.column_stack([p[name] for name in names]).astype(np.float32)


def takes(spec: Spec, plan: Plan) -> list[Target]:
    """A plan's takes by another unit, but those that are silent, as a search hears them."""
    targets = []
    for sound, keys in zip(rendered(spec, [plan], FLOOR_UNIT)[0], plan.performance[:, 0], strict=True):
        try:
            targets.append(prepare(sound, spec.machine.sample_rate, int(keys[0]), int(keys[1])))
        except MatchError:
            continue
    if not targets:
        raise ValueError(f"item {plan.index} cannot be heard on another unit: no search can be made for it")
    return targets
