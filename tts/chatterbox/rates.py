"""The model's rates, derived from one another, and the sizes that are the same in every checkpoint.

25 tokens/s × 2 frames × 480 samples = 24,000 Hz.
"""

from __future__ import annotations

TOKENS_PER_S = 25
FRAMES_PER_TOKEN = 2
SAMPLES_PER_FRAME = 480

FRAMES_PER_S = TOKENS_PER_S * FRAMES_PER_TOKEN  # 50 Hz
SAMPLES_PER_TOKEN = FRAMES_PER_TOKEN * SAMPLES_PER_FRAME  # 960
SAMPLE_RATE_HZ = FRAMES_PER_S * SAMPLES_PER_FRAME  # 24,000 Hz

ENCODER_RATE_HZ = 16_000  # of the voice encoder, the speech tokenizer and the speaker encoder

HEAD_DIM = 64  # of T3, the estimator and the speech tokenizer alike
MEL_BANDS = 80
XVECTOR = 192  # size of S3Gen's speaker embedding
SPEECH_CODES = 3**8  # 6,561 ids that are sound; start, stop and unused ids are above
LOOKAHEAD_TOKENS = 3  # tokens that the flow's encoder reads past the frame it renders

FLOW_PROMPT_S = 10  # of the reference, for the flow's prompt: 250 tokens, 500 frames
