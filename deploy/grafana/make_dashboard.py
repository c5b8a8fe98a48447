#!/usr/bin/env python3
"""Writes tightfit.json, the Grafana dashboard, from the panels below.

    python deploy/grafana/make_dashboard.py            writes deploy/grafana/tightfit.json
    python deploy/grafana/make_dashboard.py --check    exit code 1 where the file differs

One server at a time: the variable `instance`. All metrics are those of
server/telemetry/metrics.cc; tests/python/test_dashboard.py asks a real Prometheus for every
expression.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from grafana_json import Panel, Query, Section, dashboard, override, value_mapping, variable

FILE = Path(__file__).resolve().parent / "tightfit.json"

SERVER = 'instance="$instance"'
MODEL = f'{SERVER}, model=~"$model"'
DRAWING = f'{MODEL}, method=~"StreamImages|GenerateImages"'
WINDOW = "[$__rate_interval]"
BAR_GAUGE: dict[str, Any] = {
    "kind": "bargauge",
    "options": {"orientation": "horizontal", "displayMode": "basic"},
}


def rate(metric: str, labels: str = MODEL) -> str:
    return f"rate({metric}{{{labels}}}{WINDOW})"


def quantiles(metric: str, labels: str = MODEL) -> tuple[Query, ...]:
    """50th, 95th and 99th percentile over all models."""
    buckets = f"sum by (le) ({rate(f'{metric}_bucket', labels)})"
    return tuple(
        Query(f"histogram_quantile({q / 100:g}, {buckets})", f"p{q}") for q in (50, 95, 99)
    )


def mean(metric: str, by: str, join: str = "") -> str:
    """Mean of a histogram's observations, by a label; `join` brings the label in."""
    parts = (f"sum by ({by}) ({rate(f'{metric}_{part}')}{join})" for part in ("sum", "count"))
    return " / ".join(parts)


WITH_FORMAT = f" * on (instance, model) group_left (format) tightfit_model_info{{{MODEL}}}"

DEVICE_MEMORY = Panel(
    "Device memory by model",
    "Tensor bytes of each model, tensors that belong to none, what no tensor explains (libraries,"
    " code, contexts): together what the device has in use. limit is what models and requests may"
    " take, by configuration or of the device; reserved is what is set aside of it. On a CPU, in"
    " use is the process's resident set.",
    (
        Query(f"sum by (model) (tightfit_model_memory_bytes{{{MODEL}}})", "{{model}}"),
        Query(
            f"tightfit_device_memory_used_bytes{{{SERVER}}}"
            f" - tightfit_device_memory_unattributed_bytes{{{SERVER}}}"
            f" - on (instance) sum by (instance) (tightfit_model_memory_bytes{{{SERVER}}})",
            "tensors of no model",
        ),
        Query(f"tightfit_device_memory_unattributed_bytes{{{SERVER}}}", "unattributed"),
        Query(f"tightfit_device_memory_limit_bytes{{{SERVER}}}", "limit"),
        Query(
            f"sum by (instance) (tightfit_device_memory_reserved_bytes{{{SERVER}}})", "reserved"
        ),
    ),
    "bytes",
    stacked=True,
    width=16,
    height=10,
    overrides=(
        override("tensors of no model", color={"mode": "fixed", "fixedColor": "#555555"}),
        override("unattributed", color={"mode": "fixed", "fixedColor": "#8e8e8e"}),
        override(
            "limit",
            color={"mode": "fixed", "fixedColor": "red"},
            custom__stacking={"mode": "none", "group": "limit"},
            custom__fillOpacity=0,
            custom__lineStyle={"fill": "dash", "dash": [10, 6]},
            custom__lineWidth=2,
        ),
        override(
            "reserved",
            color={"mode": "fixed", "fixedColor": "orange"},
            custom__stacking={"mode": "none", "group": "reserved"},
            custom__fillOpacity=0,
            custom__lineWidth=2,
        ),
    ),
)

PARTS_MEMORY = Panel(
    "Memory by component and purpose",
    "Tensor bytes held now. weights stay; activations and scratch come and go with requests.",
    (
        Query(
            f"sum by (model, component, purpose) (tightfit_model_memory_bytes{{{MODEL}}}) > 0",
            "{{model}} {{component}} {{purpose}}",
        ),
    ),
    "bytes",
    stacked=True,
    width=12,
)

MEMORY = Section(
    "Memory",
    (
        DEVICE_MEMORY,
        Panel(
            "Used of the limit",
            "Share of the device's memory that is in use, whoever uses it.",
            (
                Query(
                    f"tightfit_device_memory_used_bytes{{{SERVER}}}"
                    f" / tightfit_device_memory_total_bytes{{{SERVER}}}",
                    "used",
                    instant=True,
                ),
            ),
            "percentunit",
            kind="gauge",
            width=8,
            height=5,
        ),
        Panel(
            "Most bytes held at once",
            "Peak of tensor bytes by model, summed over components and purposes: an upper bound"
            " of what the model held at one moment.",
            (
                Query(
                    f"sum by (model) (tightfit_model_memory_peak_bytes{{{MODEL}}})",
                    "{{model}}",
                    instant=True,
                ),
            ),
            "bytes",
            width=8,
            height=5,
            **BAR_GAUGE,
        ),
        Panel(
            "Predicted above what was taken",
            "By what share the bytes set aside for requests were more than they took, mean of those"
            " that ran alone. Below 0, a request took more than was set aside.",
            (Query(mean("tightfit_memory_prediction_error_ratio", "model"), "{{model}}"),),
            "percentunit",
        ),
        Panel(
            "Out of memory",
            "Calls of a model a second that ran out of device memory, by stage; each was tried once"
            " more.",
            (
                Query(
                    f"sum by (model, stage) ({rate('tightfit_out_of_memory_total')})",
                    "{{model}} {{stage}}",
                ),
            ),
            "short",
        ),
        PARTS_MEMORY,
        Panel(
            "Weights by component and format",
            "What the weights take on the device as they are packed.",
            (
                Query(
                    f"tightfit_model_weight_bytes{{{MODEL}}}",
                    "{{model}} {{component}} {{format}}",
                    instant=True,
                ),
            ),
            "bytes",
            width=12,
            **BAR_GAUGE,
        ),
        Panel(
            "Weights in host memory",
            "Packed weights of models that left the device, from where they come back.",
            (Query(f"tightfit_host_cache_bytes{{{SERVER}}}", "host cache"),),
            "bytes",
        ),
    ),
)

REQUESTS = Section(
    "Requests",
    (
        Panel(
            "Requests by status code",
            "Finished drawing calls a second.",
            (Query(f"sum by (code) ({rate('tightfit_requests_total', DRAWING)})", "{{code}}"),),
            "reqps",
            stacked=True,
            overrides=(override("OK", color={"mode": "fixed", "fixedColor": "green"}),),
        ),
        Panel(
            "Latency",
            "From a drawing call's arrival to its last byte handed over.",
            quantiles("tightfit_request_duration_seconds", DRAWING),
            "s",
        ),
        Panel(
            "Queue wait",
            "Time that requests waited for the device.",
            quantiles("tightfit_queue_wait_seconds"),
            "s",
        ),
        Panel(
            "Queue",
            "Requests that wait for the device, that advance on it in turns, and calls that have"
            " begun and not finished.",
            (
                Query(f"tightfit_queue_depth{{{SERVER}}}", "waiting"),
                Query(f"tightfit_running_requests{{{SERVER}}}", "running"),
                Query(f"sum(tightfit_inflight_requests{{{SERVER}}})", "calls in flight"),
            ),
            "short",
        ),
        Panel(
            "Refused before the queue",
            "Requests a second that were refused, by reason.",
            (
                Query(
                    f"sum by (reason) ({rate('tightfit_admission_rejections_total', SERVER)})",
                    "{{reason}}",
                ),
            ),
            "reqps",
        ),
        Panel(
            "Cancelled by stage",
            "Requests a second that ended early: cancelled, or past their deadline.",
            (Query(f"sum by (stage) ({rate('tightfit_cancelled_requests_total')})", "{{stage}}"),),
            "reqps",
        ),
        Panel(
            "Connections",
            "Open connections of the gRPC port.",
            (Query(f"tightfit_connections{{{SERVER}}}", "open"),),
            "short",
        ),
        Panel(
            "Refused connections",
            "Connections a second that were closed at once: all places taken (limit), all of one"
            " address, or no descriptor left.",
            (
                Query(
                    f"sum by (reason) ({rate('tightfit_connections_refused_total', SERVER)})",
                    "{{reason}}",
                ),
            ),
            "short",
        ),
        Panel(
            "Certificates and tokens read again",
            "Since the server started. After a failure the server goes on with those from before:"
            " its log says why.",
            (
                Query(
                    f"tightfit_credential_reloads_total{{{SERVER}}}",
                    "{{what}} {{result}}",
                    instant=True,
                ),
            ),
            "short",
            **BAR_GAUGE,
        ),
    ),
)

DRAWING_SECTION = Section(
    "Drawing",
    (
        Panel(
            "Step time by weight format",
            "Mean time of one denoising step of one request.",
            (
                Query(
                    mean("tightfit_denoise_step_duration_seconds", "format", WITH_FORMAT),
                    "{{format}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Step time by model, 95th percentile",
            "Of one denoising step.",
            (
                Query(
                    "histogram_quantile(0.95, sum by (le, model) ("
                    f"{rate('tightfit_denoise_step_duration_seconds_bucket')}))",
                    "{{model}}",
                ),
            ),
            "s",
        ),
        Panel(
            "Stages",
            "Mean time of a request in each stage.",
            (Query(mean("tightfit_stage_duration_seconds", "stage"), "{{stage}}"),),
            "s",
            stacked=True,
        ),
        Panel(
            "Images",
            "Encoded images a second.",
            (Query(f"sum by (model) ({rate('tightfit_images_total')})", "{{model}}"),),
            "short",
        ),
        Panel(
            "Pixels",
            "Pixels of encoded images a second.",
            (Query(f"sum by (model) ({rate('tightfit_image_pixels_total')})", "{{model}}"),),
            "short",
        ),
        Panel(
            "Decoded again in fp32",
            "Images a second whose decoding in 16 bits was not finite. Where it stays above 0,"
            " a VAE that is made for 16 bits (the model's setting `vae`) saves the second time.",
            (Query(f"sum by (model) ({rate('tightfit_vae_fp32_fallbacks_total')})", "{{model}}"),),
            "short",
        ),
    ),
)

STATES = (
    f'tightfit_model_state{{{MODEL}, state="loading"}}'
    f' + ignoring (state) 2 * tightfit_model_state{{{MODEL}, state="resident"}}'
    f' + ignoring (state) 3 * tightfit_model_state{{{MODEL}, state="failed"}}'
    f' + ignoring (state) 4 * tightfit_model_state{{{MODEL}, state="evicting"}}'
)

MODELS = Section(
    "Models",
    (
        Panel(
            "Model states",
            "One line a model.",
            (Query(STATES, "{{model}}"),),
            "short",
            kind="state-timeline",
            mappings=(
                value_mapping(
                    _0=("unloaded", "#8e8e8e"),
                    _1=("loading", "blue"),
                    _2=("resident", "green"),
                    _3=("failed", "red"),
                    _4=("evicting", "orange"),
                ),
            ),
            options={"mergeValues": True, "showValue": "auto"},
        ),
        Panel(
            "Load time",
            "Mean of all attempts to load a model since the server started.",
            (
                Query(
                    f"tightfit_model_load_duration_seconds_sum{{{MODEL}}}"
                    f" / tightfit_model_load_duration_seconds_count{{{MODEL}}}",
                    "{{model}}",
                    instant=True,
                ),
            ),
            "s",
            **BAR_GAUGE,
        ),
        Panel(
            "Loads",
            "Attempts to load a model since the server started.",
            (
                Query(
                    f"tightfit_model_loads_total{{{MODEL}}} > 0",
                    "{{model}} {{result}}",
                    instant=True,
                ),
            ),
            "short",
            **BAR_GAUGE,
        ),
        Panel(
            "Evictions",
            "Models a minute that left the device, by reason: lru makes room for another one. A"
            " steady rate means that models take turns: raise the limit, or pin one.",
            (
                Query(
                    f"60 * sum by (model, reason) ({rate('tightfit_model_evictions_total')})",
                    "{{model}} {{reason}}",
                ),
            ),
            "short",
        ),
        Panel(
            "Unused for",
            "Since a request last began or ended on the model.",
            (
                Query(
                    f"time() - tightfit_model_last_used_timestamp_seconds{{{MODEL}}}",
                    "{{model}}",
                    instant=True,
                ),
            ),
            "s",
            **BAR_GAUGE,
        ),
        Panel(
            "Pinned",
            "Models that are never evicted to make room.",
            (
                Query(
                    f"tightfit_model_pinned{{{MODEL}}}",
                    "{{model}}",
                    instant=True,
                ),
            ),
            "short",
            kind="stat",
            mappings=(value_mapping(_0=("no", "#8e8e8e"), _1=("pinned", "blue")),),
        ),
        Panel(
            "Up for",
            "Since the process started.",
            (
                Query(
                    f"time() - tightfit_process_start_time_seconds{{{SERVER}}}",
                    "up for",
                    instant=True,
                ),
            ),
            "s",
            kind="stat",
            height=4,
        ),
        Panel(
            "Build",
            "Version and commit of the server, and its LibTorch.",
            (
                Query(
                    f"tightfit_build_info{{{SERVER}}}",
                    "{{version}} {{commit}}, LibTorch {{libtorch}}",
                    instant=True,
                ),
            ),
            "short",
            kind="stat",
            height=4,
            options={"textMode": "name"},
        ),
    ),
)

SECTIONS = (MEMORY, REQUESTS, DRAWING_SECTION, MODELS)


def text() -> str:
    variables = [
        variable("instance", "label_values(tightfit_build_info, instance)", label="Server"),
        variable(
            "model",
            'label_values(tightfit_model_state{instance="$instance"}, model)',
            label="Model",
            multi=True,
            includeAll=True,
            allValue=".*",
        ),
    ]
    document = dashboard("tightfit", "tightfit", SECTIONS, variables)
    return json.dumps(document, indent=1) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        same = FILE.is_file() and FILE.read_text("utf-8") == text()
        if not same:
            print(f"{FILE.name} differs: run make_dashboard.py", file=sys.stderr)
        return 0 if same else 1
    FILE.write_text(text(), "utf-8")
    print(f"{FILE.name}: {sum(len(section.panels) for section in SECTIONS)} panels")
    return 0


if __name__ == "__main__":
    sys.exit(main())
