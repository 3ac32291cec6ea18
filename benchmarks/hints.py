"""What a person would say of a file beside the command itself."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hint:
    """What a person would say of a file.

    Attributes:
        shapes: sizes of inputs whose dynamic dimensions cannot be guessed.
        sample_axes: input -> its sample axis, where that is not the first.
        data: its samples, where they do not lie beside it as FILE.npz.
    """

    shapes: dict[str, list[int]] = field(default_factory=dict)
    sample_axes: dict[str, int] = field(default_factory=dict)
    data: str = ""


HINTS = {
    # drawn integers are 0 or 1, no sampling rate of 16 kHz, so that the branch for 8 kHz is taken
    "audio_silero_vad": Hint({"input": [1, 256], "state": [2, 1, 128]}),
    "text_nnsplit_en_lstm": Hint({"input": [1, 100]}),
    "audio_basic_pitch_nmp": Hint({"serving_default_input_2:0": [1, 43844, 1]}),
    "ocr_ch_ppocr_mobile_v20_cls_infer": Hint({"x": [1, 3, 48, 192]}),
    "ocr_ch_PP-OCRv3_det_infer": Hint({"x": [1, 3, 320, 320]}),
    "B10_time_major": Hint(sample_axes={"x": 1}),
    "D5_input_without_shape": Hint({"x": [1, 3, 16, 16]}),
    "D8_ragged_bert": Hint(data="D8_ragged_folder"),
}
