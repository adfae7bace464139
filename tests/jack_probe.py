"""Processes of their own on a JACK server: one that sends MIDI, one that captures sound.

python jack_probe.py send SERVER PORT events.json done.json [freewheel]
python jack_probe.py capture SERVER CLIENT out.npz       (until its input is closed)
"""

import json
import sys
import threading
import time

import jack
import numpy as np


def connect(client, name, source, port, patience=10.0):
    end = time.monotonic() + patience
    while not client.get_ports(f"^{name}$"):
        if time.monotonic() > end:
            sys.exit(f"no port {name}")
        time.sleep(0.02)
    client.connect(*((source, name) if source else (name, port)))


def send(server, port, events_path, done_path, freewheel=False):
    """Send ``[frame, [bytes]]`` rows, frames counted from the start; write the JACK frames at which they went.

    port : where to send to, or "-" to wait until somebody listens.
    """
    with open(events_path) as file:
        events = json.load(file)
    client = jack.Client("probe-send", no_start_server=True, servername=server)
    out = client.midi_outports.register("out")
    state = {"first": None, "sent": [], "armed": False}
    finished = threading.Event()
    length = events[-1][0]

    @client.set_process_callback
    def process(frames):
        out.clear_buffer()
        now = client.last_frame_time
        if not state["armed"]:
            return
        if state["first"] is None:
            state["first"] = now
        begin = now - state["first"]
        while len(state["sent"]) < len(events) and events[len(state["sent"])][0] < begin + frames:
            at, data = events[len(state["sent"])]
            out.write_midi_event(max(0, at - begin), bytes(data))
            state["sent"].append(now + max(0, at - begin))
        if begin > length:
            finished.set()

    client.activate()
    if port == "-":
        while not out.number_of_connections:
            time.sleep(0.05)
    else:
        connect(client, port, out, None)
    if freewheel:
        client.set_freewheel(True)
    state["armed"] = True
    finished.wait()
    if freewheel:
        client.set_freewheel(False)
        time.sleep(0.3)  # the server leaves that mode in its own time
    with open(done_path, "w") as file:
        json.dump({"first": state["first"], "sent": state["sent"]}, file)
    client.deactivate()
    client.close()


def capture(server, name, path):
    """Capture the outputs of a client; write the sound, the JACK frame of each block, and the bytes of MIDI OUT."""
    client = jack.Client("probe-capture", no_start_server=True, servername=server)
    ports = [client.inports.register(side) for side in ("left", "right")]
    midi_in = client.midi_inports.register("midi")
    blocks, times, midi = [], [], []
    leaving = threading.Event()

    @client.set_process_callback
    def process(count):
        if leaving.is_set():  # ports are unplugged one by one: half a block is no sound of the instrument's
            return
        blocks.append(np.stack([port.get_array().copy() for port in ports], 1))
        times.append(client.last_frame_time)
        midi.extend(b"".join(bytes(data) for _, data in midi_in.incoming_midi_events()))

    client.activate()
    for side, port in zip(("left", "right", "midi_out"), [*ports, midi_in], strict=True):
        connect(client, f"{name}:{side}", None, port)
    print("ready", flush=True)
    sys.stdin.read()
    leaving.set()
    client.deactivate()
    np.savez(path, sound=np.concatenate(blocks), times=times, block=len(blocks[0]), midi=midi)
    client.close()


if __name__ == "__main__":
    {"send": send, "capture": capture}[sys.argv[1]](*sys.argv[2:])
