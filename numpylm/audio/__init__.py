"""Sound: WAV files, resampling, log-mel spectrograms, augmentation, and a synthesizer that says digits.

from numpylm.audio import log_mel, pad_or_trim, read_audio
samples = read_audio("speech.wav")            # float32, 16 kHz, one channel
features = log_mel(pad_or_trim(samples))      # (80, 3000), the input of Whisper
"""

from numpylm.audio.augmentation import add_noise, change_speed, change_volume, shift_time, spec_augment
from numpylm.audio.mel import log_mel, pad_or_trim
from numpylm.audio.read_audio import audio_windows, read_audio
from numpylm.audio.resample import Resampler, resample
from numpylm.audio.sound_svg import sound_svg
from numpylm.audio.synthesizer import speak
from numpylm.audio.voices import Voice, voice
from numpylm.audio.wav import read_wav, write_wav

__all__ = [
    "Resampler",
    "Voice",
    "add_noise",
    "audio_windows",
    "change_speed",
    "change_volume",
    "log_mel",
    "pad_or_trim",
    "read_audio",
    "read_wav",
    "resample",
    "shift_time",
    "sound_svg",
    "speak",
    "spec_augment",
    "voice",
    "write_wav",
]
