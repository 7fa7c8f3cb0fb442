"""The sounds of the ten English digits: formants, bandwidths, voicing, noise and duration of each phone"""

from typing import Any, NamedTuple

Formants = tuple[float, float, float]


class Phone(NamedTuple):
    """What the vocal tract does during one sound. Frequencies are those of an adult man, in Hz."""

    ms: float  # how long it lasts
    start: Formants  # the first three formants at its beginning
    end: Formants  # and at its end; equal unless it is a diphthong or a changing vowel
    width: Formants  # the bandwidths of the formants
    voice: float = 0  # dB of the vibrating vocal folds; 60 is the level of a vowel, 0 is none
    breath: float = 0  # dB of aspiration: noise at the vocal folds, which passes the whole vocal tract
    hiss: float = 0  # dB of frication: noise at a narrow place, which passes the mouth in front of it only
    place: tuple[float, float] = (4000, 4000)  # center and bandwidth of the hiss: the resonance of that front part
    zero: float = 270  # of the nose; at 270 Hz it cancels the nose's resonance, so that the nose is closed
    glide: float = 50  # ms in which the formants move from this sound to the next, and from the one before
    fade: float = 15  # ms in which levels change at its borders


def steady(ms: float, formants: Formants, width: Formants, voice: float = 0, **more: Any) -> Phone:
    """A phone whose formants stay where they are."""
    return Phone(ms, formants, formants, width, voice, **more)


# Formants and bandwidths follow the tables of Klatt 1980, "Software for a cascade/parallel formant synthesizer"
# (J. Acoust. Soc. Am. 67, tables II and III). Durations and levels of noise were chosen by measuring.
PHONES = {
    "IY": Phone(200, (310, 2100, 2960), (290, 2200, 3000), (45, 150, 300), 60),
    "IH": Phone(100, (400, 1850, 2570), (440, 1750, 2600), (50, 100, 140), 60),
    "EY": Phone(190, (480, 1800, 2520), (330, 2150, 2700), (60, 100, 160), 60),
    "EH": Phone(110, (550, 1750, 2500), (600, 1600, 2530), (60, 90, 160), 60),
    "AH": Phone(130, (640, 1220, 2550), (620, 1250, 2550), (80, 60, 140), 60),
    "AX": Phone(60, (500, 1400, 2450), (480, 1450, 2450), (80, 80, 150), 57),
    "AO": Phone(150, (590, 880, 2540), (560, 900, 2400), (80, 80, 90), 60),
    "AY": Phone(240, (730, 1200, 2500), (400, 1950, 2550), (80, 70, 150), 60, glide=60),
    "OW": Phone(220, (540, 1050, 2300), (400, 800, 2300), (80, 70, 80), 60),
    "UW": Phone(220, (340, 1200, 2200), (310, 870, 2200), (60, 90, 120), 60),
    "R": steady(70, (330, 1150, 1550), (70, 100, 120), 57, glide=60),
    "ER": steady(130, (450, 1200, 1550), (70, 100, 120), 57, glide=90),
    "W": steady(80, (290, 620, 2150), (50, 80, 90), 56, glide=70),
    "N": steady(90, (380, 1600, 2550), (80, 250, 300), 57, zero=550, glide=40, fade=10),
    "F": steady(110, (340, 1000, 2200), (200, 120, 150), hiss=46, place=(5500, 7000)),
    "TH": steady(110, (320, 1290, 2540), (200, 100, 200), hiss=39, place=(6500, 5000)),
    "S": steady(120, (320, 1600, 2550), (200, 80, 200), hiss=51, place=(5600, 1500)),
    "V": steady(70, (240, 1050, 2100), (60, 90, 120), 50, hiss=38, place=(5500, 7000), glide=40),
    "Z": steady(90, (260, 1600, 2550), (70, 80, 180), 49, hiss=46, place=(5600, 1500)),
    "T-": steady(55, (300, 1750, 2600), (200, 120, 250), fade=8, glide=35),  # the mouth is closed
    "T!": steady(14, (350, 1750, 2650), (250, 120, 250), hiss=60, place=(4500, 2500), fade=3, glide=30),  # it opens
    "T^": steady(45, (400, 1650, 2600), (250, 120, 250), breath=46, hiss=40, place=(5000, 3000), glide=40),  # breath
    "K-": steady(60, (300, 1950, 2450), (200, 150, 250), fade=8, glide=35),
    "K!": steady(22, (300, 1950, 2450), (250, 160, 300), hiss=56, place=(2200, 700), breath=40, fade=3, glide=30),
    " ": steady(60, (450, 1450, 2450), (100, 120, 200), glide=30, fade=120),
}

WORDS = {
    "zero": "Z IH R OW",
    "one": "W AH N",
    "two": "T- T! T^ UW",
    "three": "TH R IY",
    "four": "F AO ER",
    "five": "F AY V",
    "six": "S IH K- K! S",
    "seven": "S EH V AX N",
    "eight": "EY T- T! T^",
    "nine": "N AY N",
}
DIGITS = tuple(WORDS)
