"""What a single file's `__metadata__` says of the model: how it was trained, and that it is SDXL.

Read are Stability's ModelSpec (`modelspec.*`), kohya's trainer (`ss_*`), OneTrainer's configuration
(`ot_config`), and the same words of other tools, in whatever case and spelling.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tightfit_export.errors import SourceError
from tightfit_export.families import SD1, SD2, SDXL, Family
from tightfit_export.foreign_layouts import REFINER
from tightfit_export.scheduler_settings import PREDICTION_TYPES

_TRUE = ("true", "1", "yes", "y", "on")
_NOTHING = ("", "none", "null")
_PREDICTIONS: tuple[str, ...] = ("prediction_type", "prediction", "pred_type", "parameterization")
_PREDICTIONS += ("parametrization", "prediction_target", "model_prediction_type")
_PREDICTIONS += ("predict_key", "model_prediction", "scheduler_prediction_type")  # ComfyUI's first
_EPSILON = ("epsilon", "eps", "e", "noise", "epsilon_prediction", "eps_prediction", "eps_pred")
_V = ("v", "v_prediction", "vprediction", "v_pred", "vpred", "velocity", "v_parameterization")
_V_MARKS: tuple[str, ...] = ("v_parameterization", "v_prediction", "v_pred", "vpred")
_V_MARKS += ("force_v_prediction", "is_v_pred", "is_v_prediction")
_EPSILON_MARKS = ("force_epsilon_prediction",)
# OneTrainer's rescaling makes the model predict v as well.
_ZERO_SNR_WITH_V = "rescale_noise_scheduler_to_zero_terminal_snr"
_ZERO_SNR: tuple[str, ...] = ("zero_terminal_snr", "zero_snr", "zsnr", "ztsnr")
_ZERO_SNR += ("rescale_betas_zero_snr", "rescale_zero_terminal_snr")
_ZERO_SNR += ("force_zero_terminal_snr", _ZERO_SNR_WITH_V)
_FLOW_MARKS = ("flow_matching", "rectified_flow")
_NOISE = ("noise_process",)
_RESOLUTIONS = ("modelspec.resolution", "ss_resolution", "resolution")
_ARCHITECTURES = ("modelspec.architecture", "ss_base_model_version")
_TITLES = ("modelspec.title", "ss_output_name", "modelspec.tags", "title", "name", "model_name")
# JSON of other things than this model: what made it, and what was drawn with it.
_NOT_OF_THE_MODEL = ("prompt", "workflow", "sd_merge_recipe", "sd_merge_models")
_ADAPTERS = re.compile(
    r"(?:lora|lycoris|locon|loha|lokr|dora|textual-inversion|embedding|control-?net|hypernetwork"
    r"|adapter|ip-adapter)\b"
)
_PREFIX = re.compile(r"(?:ss|sd|st|ot|sai)_")
_FOREIGN = re.compile(
    r"(?:stable-diffusion-|sd-?)v?[123](?!\d)|flux|chroma|stable-cascade|wuerstchen|pixart|kolors"
    r"|kandinsky|hunyuan|auraflow|lumina|qwen|z-image|hidream|sana|cosmos|wan-|ltx"
)
_SD_VERSIONS = {
    SD1.name: re.compile(r"(?:stable-diffusion-|sd-?)v?1"),
    SD2.name: re.compile(r"(?:stable-diffusion-|sd-?)v?2"),
}
# Of SD 2.x: the models of 768 px.
_V_ARCHITECTURE = re.compile(r"v?2.*768-?v", re.IGNORECASE)


@dataclass(frozen=True)
class Said:
    """What a file says of itself; None: nothing."""

    prediction_type: str | None = None
    prediction_key: str = ""  # where it says so
    zero_terminal_snr: bool = False
    zero_snr_key: str = ""
    size_px: tuple[int, int] | None = None  # width and height
    title: str = ""
    contradiction: str = ""  # of the file with itself


def read_metadata(
    file_name: str, metadata: Mapping[str, str], asked: str | None, family: Family = SDXL
) -> Said:
    """`asked` is the prediction type of the command line, which goes over the file's.

    Errors: SourceError if the file says that it is of another kind than `family`, which its tensors
    are, or was trained for a prediction that cannot be served.
    """
    refuse_foreign_architecture(file_name, metadata, family)
    votes: dict[str, str] = {}
    zero_snr_key = ""
    for key, value in _entries(metadata):
        kind = _prediction_of(key, value)
        if kind is not None and kind not in PREDICTION_TYPES and asked is None:
            raise SourceError(
                f"{file_name}: its metadata says {key}: {_shown(value)}, which cannot be served, "
                "only epsilon and v; --prediction-type goes over what the file says"
            )
        if kind is not None:
            votes.setdefault(kind, key)
        if _leaf(key) in _ZERO_SNR and value.lower() in _TRUE:
            zero_snr_key = zero_snr_key or key
    # Tools that know nothing of v write epsilon, so that one v counts for more.
    kind = next((name for name in ("v_prediction", "epsilon") if name in votes), None)
    kind = kind or next(iter(votes), None)
    contradiction = ""
    if "v_prediction" in votes and "epsilon" in votes:
        contradiction = (
            f"{file_name} says v-prediction ({votes['v_prediction']}) and epsilon "
            f"({votes['epsilon']}) of itself; v-prediction is taken, --prediction-type goes over it"
        )
    return Said(
        kind,
        votes.get(kind or "", ""),
        bool(zero_snr_key),
        zero_snr_key,
        _size_px(metadata),
        " ".join(metadata.get(key, "") for key in _TITLES).strip(),
        contradiction,
    )


def _entries(metadata: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """All keys and values, those of configurations in JSON among them, as OneTrainer writes it."""
    for key, value in metadata.items():
        if value.lstrip().startswith("{") and key not in _NOT_OF_THE_MODEL:
            yield from _nested(key, value)
        else:
            yield key, value.strip().strip("\"'")


def _nested(outer: str, text: str) -> Iterator[tuple[str, str]]:
    try:
        content = json.loads(text)
    except ValueError:
        return
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, (str, bool, int)):
                yield f"{outer}.{key}", str(value).strip()


def _leaf(key: str) -> str:
    name = key.lower().replace("-", "_").rpartition(".")[2]
    return _PREFIX.sub("", name, count=1)


def _prediction_of(key: str, value: str) -> str | None:
    """A prediction type, or the word for one that is not served; None: the entry says nothing."""
    leaf = _leaf(key)
    if key in _ARCHITECTURES:
        return "v_prediction" if _V_ARCHITECTURE.search(value.replace("_", "-")) else None
    word = re.sub(r"[\s-]+", "_", value.lower())
    is_true = word in _TRUE
    if leaf in _PREDICTIONS:
        if word in _NOTHING:
            return None
        return "epsilon" if word in _EPSILON else "v_prediction" if word in _V else word
    if leaf in _V_MARKS or leaf == _ZERO_SNR_WITH_V:
        return "v_prediction" if is_true else None
    if leaf in _EPSILON_MARKS:
        return "epsilon" if is_true else None
    if leaf in _FLOW_MARKS:
        return "flow" if is_true else None
    return "flow" if leaf in _NOISE and "flow" in word else None


def refuse_foreign_architecture(
    file_name: str, metadata: Mapping[str, str], family: Family = SDXL
) -> None:
    """Errors: SourceError if the metadata names another kind of model than `family`."""
    for key in _ARCHITECTURES:
        said = metadata.get(key, "")
        word = said.lower().strip().replace("_", "-")
        base, _, adapter = word.partition("/")
        if _ADAPTERS.match(adapter):
            raise SourceError(
                f"{file_name}: its metadata says {key}: {_shown(said)}, which is no whole model; "
                "merge it into its base model, or take the full checkpoint"
            )
        base = base if not adapter else word  # a repository's name, or a list of names
        if "xl" in base and "refiner" in base:
            raise SourceError(f"{file_name}: its metadata says {key}: {_shown(said)}; {REFINER}")
        name = base.rpartition("/")[2]
        own = _SD_VERSIONS.get(family.name)
        is_named = "xl" not in base and _FOREIGN.match(name) is not None
        is_own = own.match(name) is not None if own else not is_named
        is_xl = own is not None and "xl" in base
        if is_xl or (is_named and not is_own):
            raise SourceError(
                f"{file_name}: its metadata says {key}: {_shown(said)}, but its tensors are those "
                f"of {family.shown}; take a file that is what it says"
            )
    if metadata.get("ss_v2", "").lower() in _TRUE and family is not SD2:
        raise SourceError(
            f"{file_name}: its metadata says ss_v2: {_shown(metadata['ss_v2'])}, Stable Diffusion "
            f"2.x, but its tensors are those of {family.shown}"
        )


def _size_px(metadata: Mapping[str, str]) -> tuple[int, int] | None:
    for key in _RESOLUTIONS:
        found = re.fullmatch(
            r"\D{0,2}(\d{1,5})(?:\s*[xX×*,]\s*(\d{1,5}))?\D{0,2}", metadata.get(key, "").strip()
        )
        if found:
            return int(found[1]), int(found[2] or found[1])
    return None


def _shown(value: str) -> str:
    """On one line, and not the whole of a long one."""
    text = " ".join(value.split())
    return f"'{text[:60]}...'" if len(text) > 60 else f"'{text}'"
