"""The driven filter against ngspice: a second, independent solver of the same circuit."""

import shutil
import subprocess

import numpy as np
import pytest
from test_vcf import RATE, saw, snr
from workbench import run_filter

NETLIST = """* two OTA-C state-variable sections, volts in units of 2 VT
Vin in 0 PWL({points})
{sections}
.options reltol=1e-6 abstol=1e-12 vntol=1e-9 method=trap
.ic v(b1)=0 v(l1)=0 v(b2)=0 v(l2)=0
.tran {step} {end} 0 {step} uic
.control
run
linearize v(l2)
set wr_singlescale
wrdata {out} v(l2)
.endc
.end
"""
SECTION = """C{n}b b{n} 0 1
C{n}l l{n} 0 1
B{n}b 0 b{n} I={w}*(tanh(v({input})-v(l{n}))-{q}*tanh(v(b{n})))
B{n}l 0 l{n} I={w}*tanh(v(b{n}))
R{n}b b{n} 0 1e12
R{n}l l{n} 0 1e12"""


@pytest.mark.spice
@pytest.mark.parametrize("drive", [0.5, 2.0])
@pytest.mark.parametrize("cutoff, q", [(1500, 0.15), (1500, 1.0)])
def test_a_driven_filter_follows_ngspice(tmp_path, cutoff, q, drive):
    """Cutoffs to 1.5 kHz: ngspice draws straight lines between samples, and is 46 dB off DOP853 itself at 4 kHz and q = 0.1."""
    if shutil.which("ngspice") is None:
        pytest.fail("this test needs ngspice: apt-get install ngspice")
    t = np.arange(int(0.02 * RATE)) / RATE
    signal = saw(t, 110, drive)
    points = " ".join(f"{at:.9g} {value:.9g}" for at, value in zip(t, signal, strict=True))
    w = 2 * np.pi * cutoff
    sections = "\n".join(SECTION.format(n=n, input=source, w=w, q=q) for n, source in ((1, "in"), (2, "l1")))
    out = tmp_path / "out.txt"
    netlist = NETLIST.format(points=points, sections=sections, step=1 / (8 * RATE), end=t[-1], out=out)
    (tmp_path / "filter.cir").write_text(netlist)
    done = subprocess.run(["ngspice", "-b", str(tmp_path / "filter.cir")], capture_output=True, text=True)
    assert out.exists(), done.stdout + done.stderr  # its exit status is 1 whenever a .control block ran
    solved = np.loadtxt(out)
    reference = np.interp(t, solved[:, 0], solved[:, 1])
    heard = run_filter(signal, cutoff, q, RATE)
    assert snr(reference[2000:], heard[2000:]) >= 55
