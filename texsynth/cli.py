"""The command line. Every command imports what it needs when it runs, so that `texsynth --help` stays instant.

Results go to standard output, everything else to standard error. Exit status: 0 done, 1 a defect of texsynth, 2 bad
input, 3 a full disk or missing device, 4 damaged files, 130 cancelled.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from texsynth import __version__
from texsynth.allocator import keep_freed_memory
from texsynth.errors import EXIT_STATUS, ErrorKind, TexsynthError, bad_input, from_os_error
from texsynth.run import Run

if TYPE_CHECKING:
    from texsynth.options import Options
    from texsynth.selection import Selection

log = logging.getLogger(__name__)

# typer raises click's usage errors without exporting their base class (and vendors click from some version on).
_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__mro__[1])

app = typer.Typer(
    name="texsynth",
    help="Restyle and synthesise UV-space PBR textures up to 8K, on this machine, from one exemplar.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

models = typer.Typer(name="model", help="Train, prune and evaluate the learned models.", no_args_is_help=True)
app.add_typer(models)

_INPUTS, _RESULT, _CHOICES, _REPORTING = "Input", "Result", "Method", "Progress and errors"

Exemplar = Annotated[Path, typer.Argument(metavar="EXEMPLAR", help="A photo, a folder of maps, or a textured mesh.")]
Asset = Annotated[
    Path, typer.Argument(metavar="ASSET", help="A mesh (.glb, .gltf, .obj, .ply, .stl), a folder of maps or one image.")
]
Style = Annotated[
    Path,
    typer.Option("--style", metavar="EXEMPLAR", help="A photo, a folder of maps, or a textured mesh to take from."),
]
Out = Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="Folder for the result; made if absent.")]
Size = Annotated[
    int, typer.Option(metavar="TEXELS", help="Texels per side: a power of two, 64 to 8192.", rich_help_panel=_RESULT)
]
Maps = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="Any of albedo, normal, roughness, metalness, height, opacity; commas between.",
        rich_help_panel=_RESULT,
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        metavar="source|desktop|quest3",
        help="What the files are for: pictures, BC7/BC5/BC4 for desktop GPUs, or ASTC for Quest 3.",
        show_default="source",
        rich_help_panel=_RESULT,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="png|exr|ktx2|dds",
        help="File format; by default png for source, dds for desktop, ktx2 for quest3.",
        show_default=False,
        rich_help_panel=_RESULT,
    ),
]
Compression = Annotated[
    str,
    typer.Option(
        metavar="fast|medium|slow", help="How long the encoders of ASTC and BC7 search.", rich_help_panel=_RESULT
    ),
]
Tileable = Annotated[
    bool, typer.Option("--tileable", help="The result repeats without a visible edge.", rich_help_panel=_RESULT)
]
Content = Annotated[
    float,
    typer.Option(
        metavar="0..1", help="0 = pure synthesis, 1 = keeps every edge of the asset.", rich_help_panel=_CHOICES
    ),
]
Tone = Annotated[
    float,
    typer.Option(
        metavar="0..1",
        help="How much of the asset's own colour stays where it varies slowly: stains, wear, paint.",
        rich_help_panel=_CHOICES,
    ),
]
Faithful = Annotated[
    float,
    typer.Option(
        metavar="0..1",
        help="Above 0: the result is the asset itself, enlarged with the detail that an exemplar of its material lets "
        "expect: 1 = its mean, less = sharper, by more of the likeliest.",
        rich_help_panel=_CHOICES,
    ),
]
Region = Annotated[
    Path | None,
    typer.Option(metavar="MASK", help="Image, white where the asset may change.", rich_help_panel=_CHOICES),
]
SelectionChoice = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|JSON",
        help="Triangles, material slots and brush strokes of a mesh that may change, as JSON (see the README).",
        rich_help_panel=_CHOICES,
    ),
]
MaterialName = Annotated[
    str | None,
    typer.Option(
        "--material",
        metavar="NAME",
        help="Which material of a mesh to replace, by name or number; by default the one that covers most of it.",
        rich_help_panel=_CHOICES,
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="A Stable Diffusion 1.5 or SDXL checkpoint in diffusers' layout that leads the layout.",
        show_default=False,
        rich_help_panel=_CHOICES,
    ),
]
Second = Annotated[
    Path | None,
    typer.Option(
        metavar="EXEMPLAR",
        help="Another exemplar that covers a share of the surface, its low places first.",
        rich_help_panel=_CHOICES,
    ),
]
Blend = Annotated[
    str | None,
    typer.Option(
        metavar="0..1|IMAGE",
        help="The share that --second covers, or an image: white where it covers all.",
        show_default="0.5",
        rich_help_panel=_CHOICES,
    ),
]
Preset = Annotated[
    str, typer.Option(metavar="draft|standard|high", help="Speed against quality.", rich_help_panel=_CHOICES)
]
Profile = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|desktop|jetson-orin-nx",
        help="Where the layout is computed: auto takes an NVIDIA GPU if one works; desktop, jetson-orin-nx need one.",
        rich_help_panel=_CHOICES,
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Another seed gives another variant.", rich_help_panel=_CHOICES)]
Density = Annotated[
    float,
    typer.Option(
        metavar="RATIO",
        help="Exemplar texels per output texel: 2 makes the pattern half as large.",
        rich_help_panel=_CHOICES,
    ),
]
Detail = Annotated[
    float,
    typer.Option(metavar="0..1", help="How much of the exemplar's own texels returns.", rich_help_panel=_CHOICES),
]
Overlap = Annotated[
    str,
    typer.Option(
        metavar="cut|hann",
        help="How pieces of the exemplar meet: along minimum cuts, or cross-fading.",
        rich_help_panel=_CHOICES,
    ),
]
Seams = Annotated[
    str,
    typer.Option(
        metavar="weld|leave",
        help="Whether patterns go on over a mesh's UV seams, or each chart is left by itself.",
        rich_help_panel=_CHOICES,
    ),
]
Fit = Annotated[
    str,
    typer.Option(
        metavar="surface|uv",
        help="Whether the pattern has one size and one way up over the whole mesh, or lies as each UV chart does.",
        rich_help_panel=_CHOICES,
    ),
]
Grain = Annotated[
    float,
    typer.Option(
        metavar="DEGREES",
        help="How far the pattern is turned on the mesh, clockwise from upright.",
        rich_help_panel=_CHOICES,
    ),
]
StyleSize = Annotated[
    float | None,
    typer.Option(
        metavar="METRES",
        help="How wide the exemplar is on the mesh, in the mesh's unit; without it --density says.",
        show_default=False,
        rich_help_panel=_CHOICES,
    ),
]
Geometry = Annotated[
    str,
    typer.Option(
        metavar="auto|on|off",
        help="Whether a mesh's edges and cavities are content: where it has no texture, always, or never.",
        rich_help_panel=_CHOICES,
    ),
]
Directx = Annotated[
    bool | None,
    typer.Option(
        "--directx/--opengl",
        help="How input normal maps point; by default the file's name decides, OpenGL otherwise.",
        show_default=False,
        rich_help_panel=_INPUTS,
    ),
]
ClampNonfinite = Annotated[
    bool,
    typer.Option(
        "--clamp-nonfinite",
        help="Clamp NaN and infinity in HDR input and say so, instead of refusing it.",
        rich_help_panel=_INPUTS,
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on where an interrupted run stopped.", rich_help_panel=_REPORTING)
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="JSON result on standard output, JSON lines (progress, messages, errors) on standard error.",
        rich_help_panel=_REPORTING,
    ),
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", help="Log more, and show the traceback of a defect.", rich_help_panel=_REPORTING),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"texsynth {__version__}")
        raise typer.Exit


@app.callback()
def _texsynth(
    *,
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Options before the command; the application's help text stands above."""


@app.command("restyle")
def restyle_command(
    *,
    asset: Asset,
    style: Style,
    output: Out,
    size: Size = 2048,
    maps: Maps = "albedo,normal,roughness",
    content: Content = 0.5,
    tone: Tone = 0.0,
    faithful: Faithful = 0.0,
    region: Region = None,
    selection: SelectionChoice = None,
    material: MaterialName = None,
    model: Model = None,
    second: Second = None,
    blend: Blend = None,
    preset: Preset = "standard",
    profile: Profile = "auto",
    target: Target = None,
    format: Format = None,
    compression: Compression = "fast",
    seed: Seed = 0,
    tileable: Tileable = False,
    density: Density = 1.0,
    detail: Detail = 1.0,
    overlap: Overlap = "cut",
    seams: Seams = "weld",
    fit: Fit = "surface",
    grain: Grain = 0.0,
    style_size: StyleSize = None,
    geometry: Geometry = "auto",
    directx: Directx = None,
    clamp_nonfinite: ClampNonfinite = False,
    resume: Resume = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Give ASSET the material of an exemplar, keeping as much of its content as asked for."""
    options = _options(
        size=size,
        maps=maps,
        content=content,
        tone=tone,
        faithful=faithful,
        region=None if region is None else _existing(region, "a mask image"),
        selection=_selection(selection),
        material=material,
        model=model,
        second=second,
        blend=blend,
        preset=preset,
        profile=profile,
        target=target,
        format=format,
        compression=compression,
        seed=seed,
        tileable=tileable,
        density=density,
        detail=detail,
        overlap=overlap,
        seams=seams,
        fit=fit,
        grain=grain,
        style_size=style_size,
        geometry=geometry,
        directx=directx,
        nonfinite="clamp" if clamp_nonfinite else "refuse",
        resume=resume,
    )
    _existing(asset, "a mesh, a folder of maps or an image")
    _existing(style, "an image or a folder of maps")

    def work(run: Run) -> dict[str, Any]:
        from texsynth.tiles import restyle_tiles

        return restyle_tiles(asset, style, output, options, run)

    _make(work, output, as_json, verbose)


@app.command("synthesize")
def synthesize_command(
    *,
    exemplar: Exemplar,
    output: Out,
    size: Size = 2048,
    maps: Maps = "albedo,normal,roughness",
    model: Model = None,
    second: Second = None,
    blend: Blend = None,
    preset: Preset = "standard",
    profile: Profile = "auto",
    target: Target = None,
    format: Format = None,
    compression: Compression = "fast",
    seed: Seed = 0,
    tileable: Tileable = False,
    density: Density = 1.0,
    detail: Detail = 1.0,
    overlap: Overlap = "cut",
    directx: Directx = None,
    clamp_nonfinite: ClampNonfinite = False,
    resume: Resume = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a new texture of any size that looks like EXEMPLAR."""
    options = _options(
        size=size,
        maps=maps,
        model=model,
        second=second,
        blend=blend,
        preset=preset,
        profile=profile,
        target=target,
        format=format,
        compression=compression,
        seed=seed,
        tileable=tileable,
        density=density,
        detail=detail,
        overlap=overlap,
        directx=directx,
        nonfinite="clamp" if clamp_nonfinite else "refuse",
        resume=resume,
    )
    _existing(exemplar, "an image or a folder of maps")

    def work(run: Run) -> dict[str, Any]:
        from texsynth.restyle import synthesize

        return synthesize(exemplar, output, options, run)

    _make(work, output, as_json, verbose)


@app.command("mips")
def mips_command(
    *,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="An image, a folder of maps, or a textured mesh.")],
    output: Out,
    maps: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Maps to write, commas between; by default all that INPUT has.",
            show_default=False,
            rich_help_panel=_RESULT,
        ),
    ] = None,
    target: Target = None,
    format: Format = None,
    compression: Compression = "fast",
    filter: Annotated[
        str,
        typer.Option(metavar="box|kaiser|lanczos3", help="What each level averages with.", rich_help_panel=_CHOICES),
    ] = "box",
    wrap: Annotated[
        str,
        typer.Option(metavar="clamp|repeat", help="What the filter reads beyond an edge.", rich_help_panel=_CHOICES),
    ] = "clamp",
    roughness: Annotated[
        str,
        typer.Option(
            metavar="vmf_ggx|vmf|toksvig|none",
            help="How roughness takes up the bumps that normals lose.",
            rich_help_panel=_CHOICES,
        ),
    ] = "vmf_ggx",
    alpha_test: Annotated[
        float | None,
        typer.Option(
            metavar="0..1",
            help="Keep the share of opacity that passes this alpha test, at every level.",
            show_default=False,
            rich_help_panel=_CHOICES,
        ),
    ] = None,
    charts: Annotated[
        Path | None,
        typer.Option(
            metavar="IMAGE",
            help="Image whose colours tell the UV charts apart, black is empty: no level mixes two.",
            rich_help_panel=_CHOICES,
        ),
    ] = None,
    directx: Directx = None,
    clamp_nonfinite: ClampNonfinite = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write a texture set with its mip chains for a target; needs no model and no torch."""
    _existing(source, "an image, a folder of maps or a mesh")
    if charts is not None:
        _existing(charts, "an image of the UV charts")
    from texsynth.mips import MipOptions, make_mips
    from texsynth.options import parse_maps
    from texsynth.storage import choose_chain, choose_storage

    chain = choose_chain(filter, wrap, roughness, alpha_test)
    options = MipOptions(
        choose_storage(target, format, cast("Any", compression), chain),
        maps=None if maps is None else parse_maps(maps),
        charts=charts,
        directx=directx,
        nonfinite="clamp" if clamp_nonfinite else "refuse",
    )
    _make(lambda run: make_mips(source, output, options, run), output, as_json, verbose)


@app.command("measure")
def measure_command(
    generated: Annotated[Path, typer.Argument(metavar="GENERATED", help="A result, an image or a folder of maps.")],
    reference: Annotated[Path, typer.Argument(metavar="REFERENCE", help="What it should equal, or its exemplar.")],
    unpaired: Annotated[
        bool,
        typer.Option(
            "--unpaired", help="REFERENCE is an exemplar: it may differ in size and colour space; no SSIM, MCR, ADF."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The metrics as JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """Fidelity (SSIM, MCR, ADF), distance, video memory and honesty metrics of two textures."""
    _log_level(verbose)
    for path in (generated, reference):
        _existing(path, "an image or a folder of maps")
    from texsynth.measure import measure, table

    measured = measure(generated, reference, paired=not unpaired)
    if as_json:
        _print_json(measured)
    else:
        print("\n".join(table(measured)))


@app.command("procedural")
def procedural_command(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="brick, planks, marble, ...; a wrong one lists them.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for the maps.")],
    size: Annotated[int, typer.Option(metavar="TEXELS", help="Texels per side, 32 to 4096.")] = 1024,
    seed: Annotated[int, typer.Option(metavar="N", help="Another seed gives another variant.")] = 0,
    verbose: Verbose = False,
) -> None:
    """Make a procedural material: a folder of maps with exact normal, height and roughness."""
    _log_level(verbose)
    from texsynth.train.procedural import generate, write

    material = generate(kind, size, seed)
    _require_writable(output)
    write(material, output)
    print(f"{output}: {', '.join(material.maps)} at {size} x {size}")


@app.command("sample-asset")
def sample_asset_command(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder for asset.glb.")],
    size: Annotated[int, typer.Option(metavar="TEXELS", help="Texels per side, 256 to 4096.")] = 1024,
    verbose: Verbose = False,
) -> None:
    """Make the demo's mesh: an urn on a pedestal with one textured material."""
    _log_level(verbose)
    if not 256 <= size <= 4096:
        raise bad_input("size", f"got {size}", "use a number from 256 to 4096")
    _require_writable(output)
    from texsynth.sample_asset import write_sample_asset

    print(f"{write_sample_asset(output, size)}: textures at {size} x {size}")


@app.command("bake")
def bake_command(
    manifest: Annotated[
        str, typer.Argument(metavar="MANIFEST", help="TOML or CSV: assets, exemplars and options; globs are allowed.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="Folder, or URL, for a folder of each result.")
    ],
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many are baked side by side; on a cluster by default one per GPU, or per node without GPUs.",
            show_default="1",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Bake on a Ray cluster: local starts one here; auto, HOST:PORT or ray://HOST:PORT."
        ),
    ] = None,
    scratch: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of each machine for copies of inputs from URLs and for results on their way to one.",
            show_default="~/.cache/texsynth/bake",
        ),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Bake all that a manifest asks for; what is done already and unchanged is skipped."""
    _log_level(verbose)
    from texsynth.bake.command import bake_with_progress
    from texsynth.bake.manifest import load_manifest
    from texsynth.bake.remote import is_url, located
    from texsynth.bake.run import Setup
    from texsynth.checks import require_range

    here = "" if ray is None else str(Path.cwd())  # a cluster works in other folders
    manifest, output = located(here, manifest), located(here, output).rstrip("/")
    if workers is not None:
        require_range("workers", workers, 1, 64 if ray is None else 4096)
    if not is_url(manifest):
        _existing(Path(manifest), "a TOML or CSV file")
    entries = load_manifest(manifest)
    if not is_url(output):
        _require_writable(Path(output))
    raise typer.Exit(bake_with_progress(entries, Setup(output, scratch and scratch.absolute()), workers, ray, as_json))


@app.command("serve")
def serve_command(
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where to listen; port 0 takes a free one.")
    ] = "127.0.0.1:50051",
    web: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Where to serve the web page, such as 127.0.0.1:8080.", show_default=False
        ),
    ] = None,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the jobs and of all their files.")] = Path(
        "texsynth-data"
    ),
    queue: Annotated[
        int, typer.Option(metavar="N", min=0, help="Jobs that may wait; further ones are refused.")
    ] = 1000,
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Worker processes; 0: one a GPU, or one with all cores.")
    ] = 0,
    worker_jobs: Annotated[
        int, typer.Option(metavar="N", min=1, help="Jobs after which a worker is replaced by a fresh one.")
    ] = 200,
    keep_days: Annotated[
        float, typer.Option(metavar="DAYS", min=0, help="Forget jobs that ended so long ago; 0: never.")
    ] = 30,
    tenant_jobs: Annotated[
        int, typer.Option(metavar="N", min=1, help="Unfinished jobs that one tenant may have.")
    ] = 1000,
    tenant_gb: Annotated[
        float, typer.Option(metavar="GB", min=0, help="What one tenant's files may take; 0: as much as the disk.")
    ] = 0,
    metrics: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where Prometheus may read /metrics.")
    ] = None,
    log_format: Annotated[str, typer.Option(metavar="FORM", help="text or json, a line an event.")] = "text",
    tokens: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only callers with one of these tokens; see --new-token.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The server's certificate: calls are encrypted.")
    ] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="Its private key.")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(metavar="PEM", help="Only callers with a certificate of this authority.")
    ] = None,
    new_token: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Add a token to the file of --tokens, print its secret once, and end."),
    ] = None,
    tenant: Annotated[str, typer.Option(metavar="NAME", help="Whose the new token is.")] = "default",
    scopes: Annotated[str, typer.Option(metavar="LIST", help="What it may: read, write.")] = "read,write",
    generate_certificates: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Make a private CA with a server's and a client's certificate, and end."),
    ] = None,
    hosts: Annotated[
        str, typer.Option(metavar="LIST", help="Names and addresses of the server in the new certificate.")
    ] = "localhost,127.0.0.1",
    lent: Annotated[
        list[str] | None,
        typer.Option(
            "--models",
            metavar="NAME=FOLDER",
            help="A checkpoint that clients may name (may be repeated).",
            show_default=False,
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Do jobs for clients over gRPC or on a page until SIGTERM; unfinished jobs go on when it is started again."""
    _log_level(verbose)
    if generate_certificates is not None:
        from texsynth_rpc import certificates

        print("\n".join(map(str, certificates.generate_certificates(generate_certificates, hosts.split(",")))))
        return
    if new_token is not None:
        from texsynth_rpc import gate

        if tokens is None:
            raise bad_input("new-token", "there is no file to add it to", "name one with --tokens")
        print(gate.new_token(tokens, new_token, tenant, tuple(scopes.split(","))))
        return
    if (certificate is None) is not (key is None) or (client_ca is not None and certificate is None):
        raise bad_input("certificate", "is half of what it takes", "give --certificate and --key together")
    _require_writable(data)
    from texsynth_rpc.certificates import Certificates
    from texsynth_rpc.jobs import Limits
    from texsynth_rpc.lent_models import parse_models
    from texsynth_rpc.server import Settings, serve

    shown = None if certificate is None or key is None else Certificates(certificate, key, client_ca)
    serve(
        Settings(
            listen, data, Limits(queue, tenant_jobs), int(tenant_gb * 1e9), keep_days * 86400, workers,
            worker_jobs, metrics, log_format, tokens, shown, web,  # type: ignore[arg-type]  # checked there
            models=parse_models(lent or []),
        )
    )  # fmt: skip


@models.command("train")
def train_command(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="estimator, autoencoder or reference.")],
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="One folder of maps for each material.")],
    output: Out,
    preset: Annotated[
        str, typer.Option(metavar="small|base", help="For two CPU cores and some hours, or for a GPU.")
    ] = "small",
    profile: Profile = "auto",
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same weights on one machine.")] = 0,
    resume: Resume = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train a model from the materials in a folder and the procedural generator."""
    _existing(data, "a folder with one folder of maps a material")

    def work(run: Run) -> dict[str, Any]:
        from texsynth.profiles import choose_compute
        from texsynth.train.training import train_model

        device = choose_compute(cast("Any", profile)).device
        return train_model(name, data, output, preset=preset, seed=seed, resume=resume, device=device, run=run)

    facts = _with_progress(work, output, as_json, verbose)
    if as_json:
        _print_json(facts)
    else:
        print(f"{output / 'model'}: sha256 {facts['sha256']}; the curve is in {output / 'curve.jsonl'}")


@models.command("prune")
def prune_command(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="estimator, autoencoder or reference.")],
    model: Annotated[Path, typer.Option("--model", metavar="FOLDER", help="The weights: OUT/model of train.")],
    output: Out,
    retention: Annotated[float, typer.Option(metavar="0.15..0.95", help="Share of the channels that stays.")] = 0.6,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            show_default=False,
            help="One folder of maps for each material: they say what is important, and the small model learns from "
            "the full one on them. Without it nothing is mended.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="Of fine-tuning, with --data.")] = 1000,
    profile: Profile = "auto",
    seed: Annotated[int, typer.Option(metavar="N", help="Of the batches.")] = 0,
    resume: Resume = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Make a trained model smaller: channels of little importance are removed."""
    _existing(model, "the folder of a trained model")
    if data is not None:
        _existing(data, "a folder with one folder of maps a material")

    def work(run: Run) -> dict[str, Any]:
        from texsynth.profiles import choose_compute
        from texsynth.train.pruning import prune_model

        device = choose_compute(cast("Any", profile)).device
        return prune_model(
            name, model, output, retention=retention, data=data, steps=steps, seed=seed, resume=resume, device=device,
            run=run,
        )  # fmt: skip

    facts = _with_progress(work, output, as_json, verbose)
    if as_json:
        _print_json(facts)
        return
    print(f"{output / 'model'}: sha256 {facts['sha256']}; {facts['left']:.0%} of the channels are left")
    (before, after), (slow, fast) = facts["multiply_adds"], facts["milliseconds"]
    print(f"multiply-adds: {before / 1e6:.1f} M before, {after / 1e6:.1f} M after")
    print(f"milliseconds: {slow:.1f} before, {fast:.1f} after")
    if "off_after" in facts:
        print(f"off the full model: {facts['off_before']:.3f} of its variance, {facts['off_after']:.3f} fine-tuned")


@models.command("evaluate")
def evaluate_command(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="estimator, autoencoder or reference.")],
    data: Annotated[Path, typer.Option(metavar="FOLDER", help="One folder of maps for each material.")],
    model: Annotated[Path, typer.Option("--model", metavar="FOLDER", help="The weights: OUT/model of train.")],
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON.")] = False,
    verbose: Verbose = False,
) -> None:
    """How far a model is off on materials that it was not trained on."""
    _log_level(verbose)
    _existing(data, "a folder with one folder of maps a material")
    _existing(model, "the folder of a trained model")
    from texsynth.train.evaluation import evaluate_model

    rows = evaluate_model(name, data, model)
    if as_json:
        _print_json(rows)
        return
    names = list(rows[-1])
    print("  ".join(f"{key:>16}" for key in names))
    for row in rows:
        values = (row.get(key) for key in names)
        print("  ".join(f"{v:16.3f}" if isinstance(v, float) else f"{v or '-':>16.16}" for v in values))


@app.command("view")
def view_command(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="A folder that restyle or synthesize wrote.")],
    port: Annotated[int, typer.Option(metavar="N", help="Port on 127.0.0.1; 0 takes any free one.")] = 0,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only say the address.")] = False,
    verbose: Verbose = False,
) -> None:
    """Show a result in the browser; Ctrl-C ends it."""
    _log_level(verbose)
    _existing(folder, "a folder that restyle or synthesize wrote")
    from texsynth.view import serve

    serve(folder, port, open_browser=not no_open)


@app.command("verify")
def verify_command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that restyle or synthesize wrote, or that serve keeps.")
    ],
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Of a stopped service's folder: move damaged files away, and let the jobs that need them be retried.",
        ),
    ] = False,
) -> None:
    """Compare every published file with its digest."""
    _existing(folder, "a folder that restyle, synthesize or serve wrote")
    from texsynth.publish import verify

    if (folder / "jobs.sqlite").exists():
        from texsynth_rpc.repair import examine

        problems = examine(folder, repair)
    elif repair:
        right = "make the result again, with --resume"
        raise bad_input(folder, "is no folder of texsynth serve, and only those can be repaired", right)
    else:
        problems = verify(folder)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(EXIT_STATUS[ErrorKind.CORRUPT])
    print(f"{folder}: complete, every digest matches")


@app.command("doctor")
def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
) -> None:
    """What this machine can do, and what is missing."""
    from texsynth.doctor import examine, is_ready

    findings = examine(Path.cwd())
    if as_json:
        _print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            print(finding.line())
    if not is_ready(findings):
        raise typer.Exit(EXIT_STATUS[ErrorKind.NO_DEVICE])


def _options(*, maps: str, model: Path | None, second: Path | None, blend: str | None, **values: Any) -> Options:
    from texsynth.options import Options, parse_maps

    if model is not None:
        _existing(model, "a folder in diffusers layout")
    if second is not None:
        _existing(second, "an image, a folder of maps or a mesh")
    share = None if blend is None else _share(blend)
    return Options(maps=parse_maps(maps), model=model, second=second, blend=share, **values)


def _selection(choice: str | None) -> Selection | None:
    from texsynth.selection import read_selection

    return None if choice is None else read_selection(choice)


def _share(text: str) -> float | Path:
    """A number, else the path of an image."""
    try:
        return float(text)
    except ValueError:
        return _existing(Path(text), "a share from 0 to 1 or an image")


def _existing(path: Path, right: str) -> Path:
    """Refuse a missing input before the engine is imported, so that a typing mistake costs no waiting."""
    try:
        path.stat()
    except FileNotFoundError:
        raise bad_input(path, "does not exist", f"name {right}") from None
    except OSError as error:
        raise from_os_error(error, path) from error
    except ValueError as error:  # a NUL in the name
        raise bad_input(repr(str(path)), str(error), f"name {right}") from error
    return path


def _require_writable(folder: Path) -> None:
    """Make `folder` and try a file in it before hours of work depend on it. Raises TexsynthError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"texsynth")
            probe.flush()
    except FileExistsError:
        raise bad_input(folder, "is a file", "name a folder for the result") from None
    except OSError as error:
        if EXIT_STATUS[from_os_error(error, folder).kind] == EXIT_STATUS[ErrorKind.NO_SPACE]:
            raise from_os_error(error, folder) from error
        raise bad_input(
            folder, f"cannot be written ({error.strerror})", "name a folder where files may be made"
        ) from error


def _make(work: Callable[[Run], dict[str, Any]], out: Path, as_json: bool, verbose: bool) -> None:
    """Do `work` with progress and clean cancellation, and say where the result is."""
    from texsynth.terminal import duration

    began = time.monotonic()
    manifest = _with_progress(work, out, as_json, verbose)
    if as_json:
        _print_json(manifest)
        return
    print(f"{out}: done in {duration(time.monotonic() - began)}, {_peak_memory_gb():.1f} GB of memory at most")
    for name, each in manifest.get("tiles", {"": manifest}).items():
        _print_result(out / name, each)
    if "tiles" in manifest:
        print(f"  {out / 'asset.glb'}  with all tiles")


def _print_result(out: Path, manifest: dict[str, Any]) -> None:
    for entry in manifest["maps"].values():
        stored = entry["texel_format"] or f"{entry['bits']} bits"
        print(f"  {out / entry['file']}  {stored}, {entry['levels']} levels, {_map_bytes(entry) / 2**20:.1f} MiB")
    for name in ("asset.glb", "report.html"):
        if name in manifest["files"]:  # others may be there, of an earlier result
            print(f"  {out / name}")
    for note in manifest.get("notes", ()):
        print(f"  note: {note}")
    command = "texsynth" if shutil.which("texsynth") else sys.argv[0]  # make demo runs it from .venv, off the path
    print(f"  look at it in a browser: {command} view {shlex.quote(str(out))}")


def _with_progress(work: Callable[[Run], dict[str, Any]], out: Path, as_json: bool, verbose: bool) -> dict[str, Any]:
    """Do `work`, which writes to `out`, with progress and clean cancellation."""
    from texsynth.terminal import cancel_on_signals, log_through, open_display

    _log_level(verbose)
    _require_writable(out)
    display = open_display(as_json)
    run = Run(listener=display.progress)
    try:
        with log_through(display.say), cancel_on_signals(run, display):
            return work(run)
    finally:
        display.close()


def _map_bytes(entry: dict[str, Any]) -> int:
    return int(entry["bytes"] + sum(mip["bytes"] for mip in entry["mips"]))


def _log_level(verbose: bool) -> None:
    """Our loggers at DEBUG or INFO; warnings of libraries are for developers and appear under --verbose only."""
    logging.basicConfig(stream=sys.stderr, format="texsynth: %(levelname)s %(name)s: %(message)s")
    for package in ("texsynth", "mipmap"):
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.WARNING)
    if not verbose:
        warnings.simplefilter("ignore")


def _peak_memory_gb() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e9 if sys.platform == "darwin" else peak * 1024 / 1e9


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False, default=str))


def _wants_traceback() -> bool:
    return (
        os.environ.get("TEXSYNTH_DEBUG", "0") not in ("", "0") or logging.getLogger("texsynth").level == logging.DEBUG
    )


def _explain(error: Exception) -> tuple[str, int]:
    """The line that stands for `error`, and the exit status."""
    status = 1
    match error:
        case TexsynthError(kind=kind):
            line, status = str(error), EXIT_STATUS[kind]
        case _UsageError():
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else "texsynth"
            line = f"{error.format_message().strip().rstrip('.')}; see {path} --help"
            status = EXIT_STATUS[ErrorKind.BAD_INPUT]
        case MemoryError():
            line = "out of memory; use a smaller --size or a machine with more"
            status = EXIT_STATUS[ErrorKind.NO_SPACE]
        case ImportError():
            line = f"{error}; run texsynth doctor to see which library is missing or damaged"
        case _:
            line = (
                f"{type(error).__name__}: {error}; this is a defect of texsynth:"
                " run again with --verbose and please report what it prints"
            )
    return line, status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; an error is one line on standard error, never a traceback."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    keep_freed_memory()
    # Threads that spin while they wait make every step ten times slower as soon as anything else runs (measured: 16 s
    # for a layout instead of 1.9 s beside one busy process); without other load sleeping costs nothing measurable.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    command = typer.main.get_command(app)
    try:
        status = command.main(args=arguments or ["--help"], prog_name="texsynth", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except BrokenPipeError:
        # The reader of our output went away (`texsynth verify OUT | head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        message, status = "cancelled", EXIT_STATUS[ErrorKind.CANCELLED]
    except Exception as error:
        if _wants_traceback() and not isinstance(error, _UsageError):
            traceback.print_exc()
        message, status = _explain(error)
    event = "cancelled" if status == EXIT_STATUS[ErrorKind.CANCELLED] else "error"
    message = " ".join(message.split())
    if "--json" in arguments:
        print(json.dumps({"event": event, "message": message}), file=sys.stderr)
    else:
        print(f"texsynth: error: {message}" if event == "error" else f"texsynth: {message}", file=sys.stderr)
    return status
