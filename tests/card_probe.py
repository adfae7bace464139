"""Two processes of the sound card's test: a board whose sound and wire go into JACK, and a host that records them.

python card_probe.py board SERVER          (prints its serial port; until its input is closed)
python card_probe.py host PORT CARD SECONDS TAKES
"""

import json
import os
import queue
import sys
import threading
import tty

import numpy as np
from scipy import signal

RATE = 48_000
CLICK = 0x55
BYTE_FRAMES = RATE * 320e-6


def board(server):
    import jack

    client = jack.Client("board", no_start_server=True, servername=server)
    ports = [client.outports.register(name) for name in ("sound", "wire")]
    heard, waiting, state = queue.SimpleQueue(), [], {"free": 0.0}
    leader, follower = os.openpty()
    tty.setraw(leader)
    tty.setraw(follower)

    def read():
        while data := os.read(leader, 256):
            heard.put((client.frame_time, data))

    @client.set_process_callback
    def process(frames):
        begin = client.last_frame_time
        while not heard.empty():
            came, data = heard.get()
            for byte in data:
                at = max(came + 2 * frames, state["free"])  # always as late, so that no block is over
                state["free"] = at + BYTE_FRAMES
                waiting.append((at, byte))
        sound, wire = (port.get_array() for port in ports)
        sound[:] = 0.0
        wire[:] = 0.2
        for at, byte in waiting:
            bits = [0, *((byte >> n) & 1 for n in range(8)), 1]
            edges = at + np.arange(11) * BYTE_FRAMES / 10 - begin
            for n, bit in enumerate(bits):
                frames_of = np.arange(max(0, int(np.floor(edges[n]))), min(frames, int(np.ceil(edges[n + 1])) + 1))
                share = np.clip(np.minimum(frames_of + 1, edges[n + 1]) - np.maximum(frames_of, edges[n]), 0, 1)
                wire[frames_of] -= np.float32(0.4 * (1 - bit)) * share.astype(np.float32)
            place = round(at + BYTE_FRAMES) - begin
            if byte == CLICK and 0 <= place < frames:
                sound[place] = 0.6
        waiting[:] = [row for row in waiting if row[0] + 2 * BYTE_FRAMES > begin + frames]

    client.activate()
    threading.Thread(target=read, daemon=True).start()
    print(os.ttyname(follower), flush=True)
    sys.stdin.read()


def host(port, card, seconds, takes):
    from jxemu.bridge.capture import CardBench, Patient
    from jxemu.bridge.card import CardRecorder, inputs
    from jxemu.bridge.serial_link import Wire, open_port

    names = [row[0] for row in inputs()]
    bench = Patient(  # as the commands have it: a take of which the card lost some is played again
        lambda: CardBench(Wire(open_port(port, 31_250)), CardRecorder(card, RATE, 2), learn=3.0),
        say=lambda text: print(text, file=sys.stderr),
    )
    found = []
    for take in range(takes):
        wire = [(100_000 * n + 50_000 + 1_000 * take, CLICK) for n in range(1, int(10 * seconds) - 1)]
        made = bench.perform(wire, seconds)
        # one that lies halfway between two samples is as high in both
        clicks = signal.find_peaks(made.sound[:, 0], height=0.3, distance=RATE // 100)[0] / RATE
        found.append({
            "expected": [at / 1e6 for at, _ in wire], "clicks": clicks.tolist(), "ppm": made.ppm, "frames": len(made.sound),
            "channels": made.sound.shape[1], "troubles": made.troubles,
        })  # fmt: skip
    bench.close()
    print(json.dumps({"names": names, "takes": found}))


if __name__ == "__main__":
    role, *words = sys.argv[1:]
    board(*words) if role == "board" else host(words[0], words[1], float(words[2]), int(words[3]))
