"""Noise is a function of the seed and the absolute position alone."""

import pytest
import torch

from tts.chatterbox.runtime.host import NoiseTape


def test_reading_in_pieces_is_reading_at_once():
    whole = NoiseTape(7, 80).read(0, 333)
    tape = NoiseTape(7, 80)
    pieces = [tape.read(0, 1), tape.read(1, 51), tape.read(51, 51), tape.read(51, 333)]
    assert torch.equal(torch.cat(pieces), whole)
    assert torch.equal(tape.read(100, 120), whole[100:120])


def test_noise_that_is_forgotten_is_freed_and_changes_none_after_it():
    whole, tape = NoiseTape(7, 80).read(0, 333), NoiseTape(7, 80)
    tape.draw(200)
    tape.forget(120)
    assert torch.equal(tape.read(120, 333), whole[120:])
    assert len(tape._blocks) == 5  # from position 100 on
    with pytest.raises(KeyError):
        tape.read(99, 120)


def test_another_seed_is_other_noise():
    assert not torch.equal(NoiseTape(7, 4).read(0, 9), NoiseTape(8, 4).read(0, 9))


def test_the_global_generator_is_left_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    NoiseTape(7, 80).read(0, 100)
    assert torch.equal(torch.get_rng_state(), before)
