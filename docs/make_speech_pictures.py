"""Draw the pictures of docs/speech.md: ``python docs/make_speech_pictures.py`` writes them to docs/speech/."""

from pathlib import Path

import numpy as np

from numpylm.audio import (
    add_noise,
    change_speed,
    change_volume,
    log_mel,
    shift_time,
    sound_svg,
    speak,
    spec_augment,
    voice,
)
from numpylm.system.whole_files import write_text

FOLDER = Path(__file__).parent / "speech"


def pictures() -> dict[str, str]:
    """The name of each file and its contents."""
    said = speak(["three", "one", "four"], voice(2), np.random.default_rng(1))
    word = speak(["six"], voice(2), np.random.default_rng(1))
    rng = np.random.default_rng(4)
    moved = change_volume(shift_time(word, 0.2, rng), 12, rng)
    return {
        "numbers": sound_svg("three one four: a low voice", said),
        "high_voice": sound_svg("three one four: a high voice", speak(["three", "one", "four"], voice(1))),
        "six": sound_svg("six", word),
        "faster": sound_svg("1.3 times as fast", change_speed(word, 1.3)),
        "noise": sound_svg("noise at 10 dB", add_noise(word, 10, rng)),
        "moved": sound_svg("moved, and another volume", moved),
        "masks": sound_svg("SpecAugment", word, features=spec_augment(log_mel(word), rng)),
    }


if __name__ == "__main__":
    for name, picture in pictures().items():
        write_text(FOLDER / f"{name}.svg", picture)
