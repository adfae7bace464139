"""jxemu: a hardware-accurate Roland Super JX (JX-10 / MKS-70) and JX-8P.

>>> import jxemu
>>> tone = jxemu.Tone(name="SAW", dco1_wave="saw", vcf_freq=90, vcf_env=40)
>>> sound = jxemu.render(tone, notes=[(60, 100, 0.0, 0.5)])  # float32 (n, 2)
"""

from jxemu import render
from jxemu.machine import JX8P, MKS70, Circuit, Event, Machine, SuperJX, Unit
from jxemu.patch.bank import Bank, load_bank
from jxemu.patch.patch import Patch
from jxemu.patch.tone import Tone
from jxemu.render.offline import Item, render_batch, trace

__all__ = [
    "JX8P", "MKS70", "Bank", "Circuit", "Event", "Item", "Machine", "Patch", "SuperJX", "Tone",
    "Unit", "load_bank", "render", "render_batch", "trace",
]  # fmt: skip
