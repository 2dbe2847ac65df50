"""Sound, silence and clipping, on synthetic samples near the limits of each rule."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.pcm import Samples, from_dbfs, peak_dbfs, rms_dbfs
from audio.reference_cleaning import PAD_S, SPEECH_DBFS, clean, clipped_samples, find_sound
from tests.audio.recordings import tone, voice
from validation.errors import ReferenceAudioError

RATE = 8_000
LONG = 60 * RATE
VOICE = voice(RATE, 3.0)


def cleaned(samples: npt.NDArray[np.floating], limit: int = LONG) -> Samples:
    return clean(samples.astype(np.float32), RATE, limit).samples


def silence(duration_s: float) -> Samples:
    return np.zeros(round(duration_s * RATE), dtype=np.float32)


def hiss(duration_s: float, level_dbfs: float) -> Samples:
    values = np.random.default_rng(1).standard_normal(round(duration_s * RATE))
    return (from_dbfs(level_dbfs) * values).astype(np.float32)


# --- what does not matter ---------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    gain_db=st.floats(-25, 8),
    offset=st.floats(-0.3, 0.3),
    before_s=st.floats(0, 5),
    after_s=st.floats(0, 5),
    flipped=st.booleans(),
)
def test_neither_gain_nor_offset_nor_silence_around_changes_the_voice(
    gain_db: float, offset: float, before_s: float, after_s: float, flipped: bool
) -> None:
    sound = VOICE * from_dbfs(gain_db) * (-1 if flipped else 1)
    before, after = silence(before_s), silence(after_s)
    dirty = cleaned(np.concatenate((before, sound, after)) + offset) * (-1 if flipped else 1)
    plain = cleaned(VOICE)
    size = len(plain) + 2 * round(PAD_S * RATE) + RATE // 50
    assert len(plain) <= len(dirty) + RATE // 50
    assert len(dirty) <= size
    match = np.correlate(np.pad(dirty, RATE // 10), plain, "valid").max() / np.square(plain).sum()
    assert match == pytest.approx(1.0, abs=0.02)


def test_what_is_clean_stays_as_it_is() -> None:
    once = cleaned(VOICE + 0.1)
    assert np.allclose(cleaned(once), once, atol=1e-5)


def test_the_input_is_not_modified() -> None:
    given_samples = VOICE.copy()
    given_samples.setflags(write=False)
    cleaned(given_samples)
    assert np.array_equal(given_samples, VOICE)


# --- level ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain_db", [-35.0, 0.0, 8.0])
def test_sound_has_the_stated_level_however_long_the_pauses(gain_db: float) -> None:
    sound = tone(RATE, 2.0) * from_dbfs(gain_db)
    result = cleaned(np.concatenate((sound, silence(3.0), sound)))
    assert rms_dbfs(result[: 2 * RATE]) == pytest.approx(SPEECH_DBFS, abs=0.1)


def test_a_peak_that_would_pass_full_scale_keeps_the_whole_below_the_level() -> None:
    sound = tone(RATE, 2.0) * from_dbfs(-40)
    sound[5_000] = 0.9
    result = cleaned(sound)
    assert peak_dbfs(result) == pytest.approx(0.0, abs=0.01)
    assert np.max(np.abs(result)) <= 1.0
    assert rms_dbfs(result[:4_000]) < SPEECH_DBFS - 6
    assert np.allclose(result / result[5_000], sound / sound[5_000], atol=1e-3)


# --- silence ----------------------------------------------------------------------------------------------


def test_a_little_silence_is_left_at_both_ends() -> None:
    sound = find_sound(np.concatenate((silence(2.0), tone(RATE), silence(3.0))), RATE)
    assert (sound.begin, sound.end) == (2 * RATE, 4 * RATE)
    result = cleaned(np.concatenate((silence(2.0), tone(RATE), silence(3.0))))
    assert len(result) == 2 * RATE + 2 * round(PAD_S * RATE)


@pytest.mark.parametrize("level_dbfs", [-80.0, -60.0, -45.0, -40.0])
def test_a_rooms_noise_is_silence(level_dbfs: float) -> None:
    """The voice has −20 dBFS where it is loud."""
    noisy = np.concatenate((silence(3.0), VOICE, silence(3.0))) + hiss(9.0, level_dbfs)
    sound = find_sound(noisy, RATE)
    assert sound.begin / RATE == pytest.approx(3.0, abs=0.1)
    assert sound.end / RATE == pytest.approx(6.0, abs=0.3)


@pytest.mark.parametrize("level_db", [0.0, -20.0, -35.0])
def test_a_quiet_speaker_is_sound(level_db: float) -> None:
    quiet = np.concatenate((silence(3.0), VOICE * from_dbfs(level_db), silence(3.0)))
    assert find_sound(quiet, RATE).length == find_sound(np.concatenate((silence(3.0), VOICE)), RATE).length


def test_digital_silence_does_not_hide_how_loud_the_room_is() -> None:
    """The recording was cut from a longer one and padded with zeros: its own noise is still silence."""
    noisy = np.concatenate((silence(2.0), VOICE, silence(2.0))) + hiss(7.0, -42.0)
    padded = np.concatenate((silence(2.0), noisy, silence(2.0)))
    assert find_sound(padded, RATE).begin / RATE == pytest.approx(4.0, abs=0.1)


def test_a_sound_without_a_pause_is_sound_throughout() -> None:
    for steady in (tone(RATE), hiss(2.0, -30.0), tone(RATE) + 0.2):
        assert find_sound(steady, RATE).length == 2 * RATE


def test_clicks_are_silence_and_do_not_set_the_level() -> None:
    clicks = silence(2.0)
    clicks[::4_000] = 1.0
    sound = find_sound(np.concatenate((clicks, VOICE * from_dbfs(-10), clicks)), RATE)
    assert sound.begin / RATE == pytest.approx(2.0, abs=0.1)
    assert sound.end / RATE == pytest.approx(5.0, abs=0.3)


@pytest.mark.parametrize(("pause_s", "length_s"), [(0.1, 2.1), (0.49, 2.49), (0.6, 2.0), (5.0, 2.0)])
def test_a_short_pause_is_part_of_the_sound_and_a_long_one_is_not(pause_s: float, length_s: float) -> None:
    word = tone(RATE, 1.0)
    sound = find_sound(np.concatenate((word, silence(pause_s), word)), RATE)
    assert sound.length / RATE == pytest.approx(length_s, abs=0.021)


# --- the cut ----------------------------------------------------------------------------------------------


def test_the_limit_counts_from_the_first_sound() -> None:
    result = clean(np.concatenate((silence(8.0), VOICE)), RATE, 2 * RATE)
    assert result.truncated
    assert 1.7 < result.sound_s <= 2.0
    assert len(result.samples) <= 2 * RATE


def test_a_cut_that_falls_into_a_pause_is_trimmed_too() -> None:
    result = clean(np.concatenate((tone(RATE, 2.0), silence(4.0), tone(RATE, 2.0))), RATE, 5 * RATE)
    assert result.truncated
    assert len(result.samples) == 2 * RATE + round(PAD_S * RATE)


def test_a_second_is_the_least_that_is_left_of_a_cut() -> None:
    """The networks need a second, but only half of a recording cut to one second must be sound."""
    half = np.concatenate((tone(RATE, 0.7), silence(2.0), tone(RATE, 2.0)))
    result = clean(half, RATE, RATE)
    assert len(result.samples) == RATE
    with pytest.raises(ReferenceAudioError, match=r"0\.40 s of sound"):
        clean(np.concatenate((tone(RATE, 0.4), silence(2.0), tone(RATE, 2.0))), RATE, RATE)


# --- clipping ---------------------------------------------------------------------------------------------


def in_8_bits(samples: Samples) -> Samples:
    return (np.floor(samples * 128).clip(-128, 127) / 128).astype(np.float32)


def in_16_bits(samples: Samples) -> Samples:
    return (np.rint(samples * 32_767) / 32_768).astype(np.float32)


def in_mulaw(samples: Samples) -> Samples:
    """256 levels, finer near zero (ITU-T G.711's curve, not its table)."""
    curved = np.rint(127 * np.log1p(255 * np.abs(samples)) / np.log(256)) / 127
    return (np.sign(samples) * (256**curved - 1) / 255).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
@pytest.mark.parametrize("levels", [in_8_bits, in_16_bits, in_mulaw, np.float32])
@pytest.mark.parametrize("amplitude", [1.0, 0.97, 0.5, 0.1, 0.03])
def test_a_loud_sound_of_few_levels_is_not_clipped(rate_hz: int, levels, amplitude: float) -> None:
    """In 8 bits a sine has its highest value for a seventh of the time."""
    for sound in (tone(rate_hz, 1.0, amplitude), amplitude / 0.45 * voice(rate_hz, 1.0)):
        assert clipped_samples(levels(sound)) / rate_hz < 0.01


@pytest.mark.parametrize(
    ("levels", "share"),
    [
        (in_8_bits, 0.1),
        (in_8_bits, 0.3),
        *((fine, share) for fine in (in_16_bits, np.float32) for share in (0.02, 0.1, 0.3)),
    ],
)
@pytest.mark.parametrize("gain", [1.0, 0.3])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_a_clipped_sound_is_counted_wherever_its_ceiling_is(levels, share: float, gain: float, offset: float) -> None:
    sound = voice(24_000, 2.0)
    ceiling = np.quantile(np.abs(sound), 1 - share)
    flat = levels((gain / ceiling * 0.85 * sound.clip(-ceiling, ceiling) + offset).astype(np.float32))
    assert clipped_samples(flat) / len(flat) == pytest.approx(share, rel=0.1)


def test_a_square_wave_is_clipped_all_over() -> None:
    square = np.sign(tone(RATE, 2.0) + 1e-9)
    assert clipped_samples(square.astype(np.float32)) > 1.9 * RATE
    assert clipped_samples((0.01 * square + 0.2).astype(np.float32)) > 1.9 * RATE


def test_clipping_is_measured_against_the_sound_not_the_silence() -> None:
    ceiling = np.quantile(np.abs(VOICE), 0.92)
    padded = np.concatenate((silence(20.0), VOICE.clip(-ceiling, ceiling), silence(20.0)))
    with pytest.raises(ReferenceAudioError, match=r"clipped in .* of its sound.*: record again with less gain"):
        cleaned(padded)


def test_one_side_clipped_counts_too() -> None:
    """An amplifier with the wrong bias, or one channel's polarity."""
    ceiling = np.quantile(VOICE, 0.9)
    assert clipped_samples(VOICE.clip(None, ceiling)) / len(VOICE) == pytest.approx(0.1, rel=0.05)
