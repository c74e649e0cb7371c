"""python -m plugin_bridge: the service from a command line, without torch or texsynth."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from texsynth_rpc.v1 import jobs_pb2

import grpc
from plugin_bridge.aio_client import AsyncClient
from plugin_bridge.client import Client
from plugin_bridge.errors import JobFailed, ServiceError
from plugin_bridge.messages import read_selection
from plugin_bridge.stream_client import TextureStream

TOKEN = "TEXSYNTH_TOKEN"  # environment variable with the secret: arguments are seen by every process
NUMBERS = ("content", "tone", "faithful", "detail", "density", "grain", "style_size")
WORDS = (
    "preset",
    "target",
    "format",
    "compression",
    "overlap",
    "seams",
    "fit",
    "geometry",
    "material",
    "model",
    "normals",
    "nonfinite",
    "region",
    "second",
)


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: done; 1: the job failed; 2: bad input or a refusal; 130: interrupted (the job goes on)."""
    asked = _parser().parse_args(arguments)
    if asked.patience is None:
        asked.patience = 0.0 if asked.run is _health else 60.0
    try:
        if asked.patience > 0:
            _tell_of_silence(asked)
        with Client(asked.server, **_trust(asked), patience=asked.patience) as client:
            return int(asked.run(client, asked))
    except JobFailed as error:
        print(f"texsynth: {error}", file=sys.stderr)
        return 1
    except ServiceError as error:
        lost = error.code is grpc.StatusCode.UNAVAILABLE
        remedy = "; is `texsynth serve` running there, and does it ask for TLS (--ca)?" if lost else ""
        if error.code is grpc.StatusCode.UNAUTHENTICATED:
            remedy = f"; give its secret in the environment variable {TOKEN}"
        print(f"texsynth: {f'{asked.server}: ' if lost else ''}{error}{remedy}", file=sys.stderr)
        return 2
    except OSError as error:
        named = error.filename is not None
        what = f"{error.filename}: {error.strerror}; check that the path exists and may be read or written"
        print(f"texsynth: {what if named else error}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"texsynth: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("texsynth: interrupted; the job goes on", file=sys.stderr)
        return 130


def _tell_of_silence(asked: argparse.Namespace) -> None:
    """One line where the service does not answer at once, for patience is silent."""
    try:
        with Client(asked.server, **_trust(asked), patience=0) as client:
            client.ready()
    except ServiceError as error:
        if error.code is grpc.StatusCode.UNAVAILABLE:
            print(f"{asked.server} does not answer; trying for {asked.patience:g} s", file=sys.stderr, flush=True)


def _trust(asked: argparse.Namespace) -> dict[str, Any]:
    secret = os.environ.get(TOKEN)
    return {"token": secret, "ca": asked.ca, "certificate": asked.certificate, "key": asked.key}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m plugin_bridge", description=__doc__)
    parser.add_argument("--server", default="127.0.0.1:50051", metavar="HOST:PORT")
    for name, text in (
        ("ca", "whose certificate the server must show"),
        ("certificate", "to show"),
        ("key", "its key"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="PEM", help=text)
    parser.add_argument(
        "--patience", type=float, metavar="SECONDS", help="how long a lost line is mended (60; of health 0)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    restyle = commands.add_parser("restyle", help="give an asset the material of an exemplar")
    restyle.add_argument("asset", type=Path)
    restyle.add_argument("--style", type=Path, required=True, metavar="EXEMPLAR")
    _add_options(restyle)
    restyle.set_defaults(run=_restyle)
    synthesize = commands.add_parser("synthesize", help="make a new texture like an exemplar")
    synthesize.add_argument("exemplar", type=Path)
    _add_options(synthesize)
    synthesize.set_defaults(run=_synthesize)
    measure = commands.add_parser("measure", help="compare two textures")
    measure.add_argument("generated", type=Path)
    measure.add_argument("reference", type=Path)
    measure.add_argument("--unpaired", action="store_true")
    measure.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    measure.set_defaults(run=_measure)
    for name, run, text in (
        ("watch", _watch, "follow a job to its end"),
        ("cancel", _cancel, "call a job off"),
        ("fetch", _fetch, "fetch the files of a job"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("job")
        if run is _fetch:
            command.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
        command.set_defaults(run=run)
    show = commands.add_parser("show", help="let a surface of a scene show the texture of a job, for all who look")
    for name in ("scene", "surface", "job"):
        show.add_argument(name)
    show.set_defaults(run=_show)
    hide = commands.add_parser("hide", help="take a surface out of a scene")
    for name in ("scene", "surface"):
        hide.add_argument(name)
    hide.set_defaults(run=_hide)
    scene = commands.add_parser("scene", help="what a scene shows")
    scene.add_argument("scene")
    scene.set_defaults(run=_scene)
    stream = commands.add_parser("stream", help="stream a scene's textures into KTX2 files; needs the texsynth package")
    stream.add_argument("scene")
    stream.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    stream.set_defaults(run=_stream)
    health = commands.add_parser("health", help="whether the service takes up work; exit status 1 if not yet")
    health.set_defaults(run=_health)
    commands.add_parser("list", help="all jobs, the newest first").set_defaults(run=_list)
    commands.add_parser("models", help="what --model may name, one a line").set_defaults(run=_models)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="wait, then fetch the result to this folder")
    parser.add_argument("--batch", action="store_true", help="let people's jobs go first")
    parser.add_argument("--size", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--maps", type=lambda text: [word.strip() for word in text.split(",")])
    parser.add_argument("--tileable", action="store_true", default=None)
    parser.add_argument("--blend", type=_share, metavar="0..1|IMAGE")
    parser.add_argument("--selection", metavar="FILE|JSON", help="triangles, slots and brushes that may change")
    for name in NUMBERS:
        parser.add_argument(f"--{name}", type=float)
    for name in WORDS:
        parser.add_argument(f"--{name}")


def _share(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _options(asked: argparse.Namespace) -> dict[str, Any]:
    names = ("size", "seed", "maps", "tileable", "blend", *NUMBERS, *WORDS)
    selection = None if asked.selection is None else read_selection(asked.selection)
    return {"selection": selection} | {name: getattr(asked, name) for name in names}


def _restyle(client: Client, asked: argparse.Namespace) -> int:
    return _follow(client, client.restyle(asked.asset, asked.style, batch=asked.batch, **_options(asked)), asked.output)


def _synthesize(client: Client, asked: argparse.Namespace) -> int:
    return _follow(client, client.synthesize(asked.exemplar, batch=asked.batch, **_options(asked)), asked.output)


def _measure(client: Client, asked: argparse.Namespace) -> int:
    return _follow(client, client.measure(asked.generated, asked.reference, unpaired=asked.unpaired), asked.output)


def _follow(client: Client, job: jobs_pb2.Job, output: Path | None) -> int:
    print(job.id, flush=True)
    if output is not None:
        client.wait(job.id, _tell)
        for path in client.fetch(job.id, output):
            print(path)
    return 0


def _watch(client: Client, asked: argparse.Namespace) -> int:
    client.wait(asked.job, _tell)
    return 0


def _cancel(client: Client, asked: argparse.Namespace) -> int:
    client.cancel(asked.job)
    return 0


def _fetch(client: Client, asked: argparse.Namespace) -> int:
    for path in client.fetch(asked.job, asked.output):
        print(path)
    return 0


def _show(client: Client, asked: argparse.Namespace) -> int:
    shown = client.show(asked.scene, asked.surface, asked.job)
    print(f"{shown.name}  version {shown.version}  {shown.job}")
    return 0


def _hide(client: Client, asked: argparse.Namespace) -> int:
    client.hide(asked.scene, asked.surface)
    return 0


def _scene(client: Client, asked: argparse.Namespace) -> int:
    for shown in client.scene(asked.scene):
        print(f"{shown.name}  version {shown.version}  {shown.job}")
    return 0


def _stream(client: Client, asked: argparse.Namespace) -> int:
    if not client.scene(asked.scene):
        raise ValueError(f"scene {asked.scene} shows nothing; let a surface show a job's texture first (show)")
    asyncio.run(_received(asked))
    return 0


async def _received(asked: argparse.Namespace) -> None:
    async with AsyncClient(asked.server, **_trust(asked)) as client:
        stream, came = TextureStream(client, asked.scene), 0
        async for event in stream:
            came += len(event.chunk.data)
            print(f"\r{came / 1e6:.1f} MB", end="", file=sys.stderr, flush=True)
            if event.WhichOneof("event") == "settled":
                break
        print(file=sys.stderr)
    for name, texture in sorted(stream.textures.items()):
        path = asked.output / f"{name}.ktx2"
        path.parent.mkdir(parents=True, exist_ok=True)
        texture.write_ktx2(path)
        print(path)


def _health(client: Client, asked: argparse.Namespace) -> int:
    del asked
    ready = client.ready()
    print("ready" if ready else "not ready")
    return 0 if ready else 1


def _list(client: Client, asked: argparse.Namespace) -> int:
    del asked
    for job in client.jobs():
        state = jobs_pb2.JobState.Name(job.state)[len("JOB_STATE_") :].lower()
        print(
            f"{job.id}  {state:9}  {job.work.WhichOneof('kind'):10}  {job.progress.fraction:4.0%}  {job.error.message}"
        )
    return 0


def _models(client: Client, asked: argparse.Namespace) -> int:
    del asked
    for name in client.models():
        print(name)
    return 0


def _tell(progress: jobs_pb2.Progress) -> None:
    left = f", {progress.remaining_seconds:.0f} s left" if progress.remaining_seconds else ""
    print(f"{progress.fraction:4.0%} {progress.stage}{left}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
