"""A file's or component's tensors, with those in it that a quantiser made smaller put back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tightfit_export.errors import SourceError
from tightfit_export.quantisation import (
    bitsandbytes_layers,
    comfy_quant,
    float8,
    quanto_tensors,
    sdnq_layers,
    torchao_int8,
)
from tightfit_export.quantisation.recipe import Plan, StoredTensors
from tightfit_export.quantisation.refusals import kind_of_config, refuse_rest
from tightfit_export.tensor_file import StoredTensor

if TYPE_CHECKING:
    import torch

Shapes = Mapping[str, tuple[int, ...]]


def _everything(key: str) -> bool:
    return True


class RestoredTensors:
    """Looks at headers and descriptions; a tensor's values are made when they are read.

    `config` is what a component's config.json says under `quantization_config`; without it the
    tensors' own names and descriptions tell. `shapes` are the network's, which some quantisers
    leave out of their files: without them all but those shapes is checked. Of tensors that are not
    `wanted` nothing is asked. Errors: SourceError naming what cannot be read.
    """

    def __init__(
        self,
        stored: StoredTensors,
        what: str,
        config: Mapping[str, Any] | None = None,
        shapes: Shapes | None = None,
        wanted: Callable[[str], bool] = _everything,
    ) -> None:
        self._stored = stored
        self.metadata = stored.metadata
        plan = Plan(what, stored, shapes)
        for key in [key for key in plan.rest if not wanted(key)]:
            plan.take(key)
        _plan(plan, config)
        self._recipes = plan.recipes
        self.tensors: dict[str, StoredTensor] = {
            key: tensor for key, tensor in stored.tensors.items() if not wanted(key)
        }
        self.tensors |= plan.rest
        self.tensors |= {
            name: StoredTensor(recipe.dtype, recipe.shape, recipe.kind)
            for name, recipe in plan.recipes.items()
        }

    def read(self, key: str) -> torch.Tensor:
        """Floats, in memory of their own. Errors: SourceError, OSError."""
        recipe = self._recipes.get(key)
        if recipe is not None:
            return recipe.make(self._stored)
        return self._stored.read(key)

    @property
    def fp16_bytes(self) -> int:
        """What all tensors take in fp16."""
        return sum(2 * math.prod(each.shape) for each in self.tensors.values())

    def close(self) -> None:
        self._stored.close()


def _plan(plan: Plan, config: Mapping[str, Any] | None) -> None:
    method = "" if config is None else str(config.get("quant_method", "")).lower()
    if config is None:
        comfy_quant.plan_layers(plan)
        bitsandbytes_layers.plan_layers(plan)
        torchao_int8.plan_layers(plan)
        quanto_tensors.plan_tensors(plan)
        float8.plan_scaled(plan)
    elif method.startswith("bitsandbytes"):
        bitsandbytes_layers.plan_layers(plan)
    elif method == "torchao":
        torchao_int8.check_config(plan.what, config)
        torchao_int8.plan_layers(plan)
    elif method == "quanto":
        quanto_tensors.plan_tensors(plan)
    elif method == "sdnq":
        sdnq_layers.plan_layers(plan, config)
    if config is not None and not plan.recipes:
        raise SourceError(
            f"{plan.what} is quantised: {kind_of_config(config)}, says its configuration, and none "
            "of its tensors is that; take the model in fp16, bf16 or fp32"
        )
    if method != "sdnq":
        float8.plan_plain(plan)
    refuse_rest(plan)
