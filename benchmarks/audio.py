"""Sound: log-mel spectrograms beside transformers' extractor, resampling beside scipy, our speaker, an hour of sound

    pip install -e ".[bench,parity]"
    python benchmarks/audio.py

All run in one process, alternately; the script prints medians of processor seconds, which other programs on the machine
disturb less. A ratio above 1 means that numpylm is faster.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly
from transformers import WhisperFeatureExtractor

from numpylm.audio import log_mel, pad_or_trim, resample, speak, voice, write_wav
from numpylm.audio.phones import DIGITS
from numpylm.audio.resample import lowpass

HOUR = """
import sys, time
from pathlib import Path
from numpylm.audio import audio_windows, log_mel
frames = sum(log_mel(window).shape[1] for window in audio_windows(sys.argv[1]))
status = Path("/proc/self/status").read_text()
peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))  # kB
print(f"{frames:,} frames, {time.process_time():.1f} s of processor time, {peak / 1000:.0f} MB at the peak")
"""


def medians(calls: dict[str, Callable[[], object]], repeats: int = 15) -> dict[str, float]:
    """Median milliseconds of processor time of each call, in alternating runs."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(1000 * (time.process_time() - start))
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def compare(title: str, calls: dict[str, Callable[[], object]]) -> None:
    """Print a row: ours first, then each of the others with its ratio."""
    found = medians(calls)
    ours = found.pop("numpylm")
    others = "".join(f"   {name} {ms:7.1f} ms, ratio {ms / ours:5.2f}" for name, ms in found.items())
    print(f"{title:<28} numpylm {ours:7.1f} ms{others}", flush=True)


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.1, 480_000).astype(np.float32)
    for n_mels in (80, 128):
        extractor = WhisperFeatureExtractor(feature_size=n_mels)
        calls: dict[str, Callable[[], object]] = {
            "numpylm": lambda n_mels=n_mels: log_mel(pad_or_trim(x), n_mels),
            "transformers (torch)": lambda e=extractor: e._torch_extract_fbank_features(x[None]),
            "transformers (NumPy)": lambda e=extractor: e._np_extract_fbank_features(x[None], "cpu"),
        }
        compare(f"log-mel of 30 s, {n_mels} bands", calls)
    for old, up, down in ((44100, 160, 441), (8000, 2, 1)):
        y, h = rng.normal(0, 0.1, 30 * old).astype(np.float32), (lowpass(up, down) / up).astype(np.float32)
        compare(
            f"30 s from {old} Hz to 16 kHz",
            {
                "numpylm": lambda y=y, old=old: resample(y, old, 16000),
                "scipy, same filter": lambda y=y, up=up, down=down, h=h: resample_poly(y, up, down, window=h),
                "scipy, its own": lambda y=y, up=up, down=down: resample_poly(y, up, down),
            },
        )
    start = time.process_time()
    for n in range(300):
        speak([DIGITS[n % 10]], voice(n), np.random.default_rng(n))
    print(f"our speaker: {300 / (time.process_time() - start):.0f} digits a second")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hour.wav"
        write_wav(path, np.tile(rng.normal(0, 0.1, 60 * 44100).astype(np.float32), 60), 44100)
        print("an hour at 44.1 kHz to log-mel:", end=" ", flush=True)
        subprocess.run([sys.executable, "-c", HOUR, path], check=True)


if __name__ == "__main__":
    main()
