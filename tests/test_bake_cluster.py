"""Baking on a real Ray cluster of two nodes on this machine, and from and to a real S3 server on loopback (moto)."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import forked
import pytest

from texsynth.bake.cluster import Plan, plan_actors
from texsynth.bake.manifest import Entry, load_manifest
from texsynth.bake.run import LOST, Outcome, bake
from texsynth.errors import TexsynthError
from texsynth.publish import verify
from texsynth.train.procedural import generate, write

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PATIENCE = 120.0
DRAFT = '[defaults]\nsize = 128\npreset = "draft"\nmaps = "albedo,normal"\n[[bake]]\nexemplars = '

Environment = Mapping[str, str]


# --- the cluster and the store ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(command: list[str], environment: Environment, log: Path, words: str) -> Iterator[None]:
    """A server in a session of its own, from when its log has `words`."""
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        end = time.monotonic() + PATIENCE
        while words not in log.read_text(errors="replace"):
            assert process.poll() is None and time.monotonic() < end, log.read_text(errors="replace")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(frozen=True)
class Bucket:
    """The bucket `shop` of the S3 server, and what texsynth needs to reach it."""

    client: Any
    environment: Environment

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket="shop", Key=name, Body=data)

    def get(self, name: str) -> bytes:
        return bytes(self.client.get_object(Bucket="shop", Key=name)["Body"].read())

    def names(self, prefix: str) -> list[str]:
        return [file["Key"] for file in self.client.list_objects_v2(Bucket="shop", Prefix=prefix).get("Contents", [])]

    def download(self, prefix: str, folder: Path) -> Path:
        for name in self.names(prefix):
            path = folder / name.removeprefix(prefix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(name))
        return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    for kind in ("gravel", "cloth"):
        write(generate(kind, 80, 1), folder / "materials" / kind)
    return folder


@pytest.fixture(scope="module")
def bucket(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PYTHONPATH": str(ROOT),
    }
    log = tmp_path_factory.mktemp("moto") / "log"
    with serving([str(BIN / "moto_server"), "-p", str(port)], environment, log, "Running on"):
        keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
        client = boto3.client("s3", endpoint_url=address, **keys)
        client.create_bucket(Bucket="shop")
        made = Bucket(client, environment)
        for path in (shop / "materials").rglob("*.png"):
            made.put(path.relative_to(shop).as_posix(), path.read_bytes())
        yield made
        client.close()


@dataclass(frozen=True)
class Cluster:
    address: str
    environment: Environment


@pytest.fixture(scope="module")
def cluster(bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two nodes of one core each, which ask for a token."""
    logs, port = tmp_path_factory.mktemp("ray"), free_port()
    environment = {**bucket.environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    common = ["--block", "--num-cpus=1", "--num-gpus=0", "--object-store-memory=80000000", "--disable-usage-stats"]
    with contextlib.ExitStack() as nodes:
        sockets = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # their paths may have 107 characters
        nodes.callback(shutil.rmtree, sockets, ignore_errors=True)
        head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={sockets}"]
        for number, place in enumerate((head, [f"--address=127.0.0.1:{port}"])):
            command = [str(BIN / "ray"), "start", *place, *common]
            nodes.enter_context(serving(command, environment, logs / str(number), "Ray runtime started"))
        yield Cluster(f"127.0.0.1:{port}", environment)


@pytest.fixture(scope="module")
def here(shop: Path, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Digests of what a bake on this machine makes of the gravel."""
    out = tmp_path_factory.mktemp("here")
    done = baked(manifest_of(shop, "here.toml", '["materials/gravel"]'), out, env=bucket.environment)
    assert done[0] == 0, done
    return digests(out / "gravel")


def texsynth_bake(manifest: Path | str, out: Path | str, *more: str, env: Environment) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "texsynth", "bake", str(manifest), "-o", str(out), "--json", *more]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def baked(manifest: Path | str, out: Path | str, *more: str, env: Environment) -> tuple[int, dict[str, int], str]:
    """As `finished`, of a bake that nothing happens to."""
    done = forked.texsynth("bake", manifest, "-o", out, "--json", *more, environment=env)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def finished(process: subprocess.Popen[str]) -> tuple[int, dict[str, int], str]:
    """Exit status, counts and messages."""
    out, messages = process.communicate(timeout=PATIENCE * 2)
    return process.returncode, json.loads(out) if out else {}, messages


def until(process: subprocess.Popen[str], **wanted: object) -> None:
    """Reads what a bake tells till there is an event with these values."""
    assert process.stderr is not None
    for line in process.stderr:
        event = json.loads(line)
        if all(event.get(key) == value for key, value in wanted.items()):
            return
    raise AssertionError(f"it ended without {wanted}")


def manifest_of(shop: Path, name: str, exemplars: str) -> Path:
    path = shop / name
    path.write_text(DRAFT + exemplars)
    return path


def digests(folder: Path) -> dict[str, str]:
    """Of all maps and mips, from the manifest, which the files are checked against."""
    assert verify(folder) == []
    maps = json.loads((folder / "material.json").read_text())["maps"].values()
    return {file["file"]: file["sha256"] for entry in maps for file in (entry, *entry["mips"])}


def wait_for(path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.02)


def process_of(name: str) -> int:
    """The process that bakes the entry `name`."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text() == f"{name}\n":
                return int(path.parent.name)
    raise AssertionError(f"nobody bakes {name}")


def status_of(process: int) -> list[str]:
    """State and parent, as in /proc/PID/stat; no state if there is no such process."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[:2]
    except FileNotFoundError:
        return ["", ""]


# --- Ray -------------------------------------------------------------------------------------------------------------


def test_an_actor_killed_in_the_middle_of_a_job_costs_nothing_but_time(
    shop: Path, cluster: Cluster, here: dict[str, str], tmp_path: Path
) -> None:
    manifest = manifest_of(shop, "two.toml", '["materials/*"]')
    out = tmp_path / "out"
    process = texsynth_bake(manifest, out, "--ray", cluster.address, "--workers", "2", env=cluster.environment)
    layout = out / "gravel" / ".work" / "0" / "layout.npz"
    wait_for(layout)
    worker = process_of("gravel")
    loaded = int(status_of(worker)[1])  # the process from which it was forked
    actor = int(status_of(loaded)[1])
    kept = layout.stat().st_mtime_ns
    os.kill(actor, signal.SIGKILL)
    until(process, name="gravel", stage="wait for a worker")
    end = time.monotonic() + PATIENCE
    while any(status_of(each)[0] not in ("", "Z") for each in (worker, loaded)):
        assert time.monotonic() < end, "the killed actor left its processes behind"
        time.sleep(0.05)
    until(process, name="gravel", stage="report")
    assert layout.stat().st_mtime_ns == kept, "it went on from its checkpoint"
    status, counts, messages = finished(process)
    assert (status, counts["made"]) == (0, 2), messages

    assert verify(out / "cloth") == []
    assert digests(out / "gravel") == here
    again = baked(manifest, out, "--ray", cluster.address, env=cluster.environment)
    assert again[1] == {"made": 0, "kept": 2, "failed": 0, "left": 0}


def test_an_interrupted_bake_on_the_cluster_goes_on_without_it(shop: Path, cluster: Cluster, tmp_path: Path) -> None:
    manifest = manifest_of(shop, "one.toml", '["materials/gravel"]')
    process = texsynth_bake(manifest, tmp_path, "--ray", cluster.address, env=cluster.environment)
    layout = tmp_path / "gravel" / ".work" / "0" / "layout.npz"
    wait_for(layout)
    process.send_signal(signal.SIGINT)
    status, counts, messages = finished(process)
    assert (status, counts["left"]) == (130, 1), messages
    assert layout.exists(), "it kept its checkpoint"
    status, counts, messages = baked(manifest, tmp_path, env=cluster.environment)
    assert (status, counts["made"]) == (0, 1), messages
    assert messages.count('"layout"') <= 2, "of the layout it only tells the beginning and the end"


def test_more_workers_than_cores_are_refused(shop: Path, cluster: Cluster, tmp_path: Path) -> None:
    manifest = manifest_of(shop, "many.toml", '["materials/gravel"]')
    more = ("--ray", cluster.address, "--workers", "3")
    status, _, messages = baked(manifest, tmp_path, *more, env=cluster.environment)
    assert status == 2
    assert json.loads(messages)["message"].startswith("workers: 3 are more than the cluster's 2 cores")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere", "127.0.0.1:port"])
def test_a_cluster_that_is_not_there_is_told_in_one_line(shop: Path, tmp_path: Path, address: str) -> None:
    manifest = manifest_of(shop, "nowhere.toml", '["materials/gravel"]')
    status, _, messages = baked(manifest, tmp_path, "--ray", address, env=os.environ)
    assert status in (2, 3)
    assert address in json.loads(messages)["message"]


def test_without_ray_or_s3fs_it_says_what_to_install(shop: Path, tmp_path: Path) -> None:
    manifest = manifest_of(shop, "without.toml", '["materials/gravel"]')
    for arguments in (["-o", str(tmp_path), "--ray", "local"], ["-o", "s3://shop/out", "--scratch", str(tmp_path)]):
        done = forked.texsynth("bake", manifest, *arguments, without=["ray", "s3fs"])
        assert done.returncode == 3
        assert "pip install 'texsynth[cluster]'" in done.stderr
        assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    ("nodes", "workers", "plan"),
    [
        ([{"CPU": 8.0}, {"CPU": 8.0}], None, Plan(2, 8, 0)),
        ([{"CPU": 8.0}, {"CPU": 8.0}], 3, Plan(3, 4, 0)),  # of 5 each one node would hold one only
        ([{"CPU": 8.0}, {"CPU": 2.0}], 2, Plan(2, 4, 0)),
        ([{"CPU": 0.0}, {"CPU": 4.0}, {}], None, Plan(1, 4, 0)),  # a head that does no work
        ([{"CPU": 16.0, "GPU": 4.0}, {"CPU": 6.0, "GPU": 2.0}, {"CPU": 64.0}], None, Plan(6, 3, 1)),
        ([{"CPU": 16.0, "GPU": 4.0}], 2, Plan(2, 4, 1)),
    ],
)
def test_actors_share_gpus_and_cores_without_more_threads_than_cores(
    nodes: list[dict[str, float]], workers: int | None, plan: Plan
) -> None:
    assert plan_actors(nodes, workers) == plan


@pytest.mark.parametrize(("nodes", "workers"), [([{"CPU": 4.0}], 5), ([{"CPU": 9.0, "GPU": 1.0}], 2), ([{}], None)])
def test_a_cluster_without_room_is_refused(nodes: list[dict[str, float]], workers: int | None) -> None:
    with pytest.raises(TexsynthError, match="workers"):
        plan_actors(nodes, workers)


def test_an_entry_that_loses_every_worker_is_listed_as_failed(shop: Path) -> None:
    entries = load_manifest(manifest_of(shop, "lost.toml", '["materials/*"]'))
    tried: list[str] = []

    def one(entry: Entry, *_: object) -> Outcome:
        tried.append(entry.name)
        if entry.name == "gravel":
            return Outcome(entry, "failed", error="its worker was lost", facts={"status": LOST})
        return Outcome(entry, "made")

    told: list[Outcome] = []
    outcomes = bake(entries, 2, one, lambda: False, lambda *_: None, told.append)
    assert {outcome.entry.name: outcome.state for outcome in outcomes} == {"cloth": "made", "gravel": "failed"}
    assert sorted(tried) == ["cloth", *["gravel"] * 4]
    assert len(told) == 2


# --- URLs ------------------------------------------------------------------------------------------------------------


def test_a_bake_from_s3_to_s3_on_the_cluster_keeps_what_is_whole(
    shop: Path, cluster: Cluster, bucket: Bucket, here: dict[str, str], tmp_path: Path
) -> None:
    bucket.put("bake.toml", (DRAFT + '["materials/gr*"]').encode())
    more = ("--scratch", str(tmp_path / "scratch"))
    on = ("--ray", cluster.address)
    status, counts, messages = baked("s3://shop/bake.toml", "s3://shop/out/", *more, *on, env=cluster.environment)
    assert (status, counts["made"]) == (0, 1), messages
    assert digests(bucket.download("out/gravel/", tmp_path / "first")) == here
    assert {"out/summary.html", "out/summary.csv", "out/summary.json"} <= set(bucket.names("out/"))
    row = json.loads(bucket.get("out/summary.json"))[0]
    assert (row["name"], row["state"], row["exemplar"]) == ("gravel", "made", "s3://shop/materials/gravel")
    assert '<img src="data:image/jpeg;base64,' in bucket.get("out/summary.html").decode()
    assert not list((tmp_path / "scratch").rglob("albedo.1.png")), "what is published lies here no more"

    def again() -> dict[str, int]:  # by another machine: one with nothing in its scratch
        shutil.rmtree(tmp_path / "scratch")
        status, counts, messages = baked("s3://shop/bake.toml", "s3://shop/out", *more, env=bucket.environment)
        assert status == 0, messages
        return counts

    assert again()["kept"] == 1
    bucket.put("out/gravel/albedo.png", bucket.get("out/gravel/albedo.png")[:-1])
    bucket.put("out/gravel/mips/opacity.1.png", b"of an earlier result")
    bucket.client.delete_object(Bucket="shop", Key="out/gravel/material.json")
    assert again()["made"] == 1
    assert digests(bucket.download("out/gravel/", tmp_path / "second")) == here
    assert not (tmp_path / "second" / "mips" / "opacity.1.png").exists()


def test_an_interrupted_bake_to_s3_shows_nothing_there_and_goes_on(shop: Path, bucket: Bucket, tmp_path: Path) -> None:
    manifest = manifest_of(shop, "to_s3.toml", '["s3://shop/materials/gravel/albedo.png"]\nsecond = "materials/cloth"')
    arguments = (manifest, "s3://shop/broken", "--scratch", str(tmp_path))
    process = texsynth_bake(*arguments, env=bucket.environment)
    until(process, stage="expand")
    process.kill()
    process.communicate()
    assert bucket.names("broken/albedo/") == []
    (layout,) = tmp_path.rglob("layout.npz")
    status, counts, messages = baked(*arguments, env=bucket.environment)
    assert (status, counts["made"]) == (0, 1), messages
    assert not layout.exists()
    assert verify(bucket.download("broken/albedo/", tmp_path / "result")) == []
    elsewhere = (*arguments[:-1], str(tmp_path / "other"))
    assert baked(*elsewhere, env=bucket.environment)[1]["kept"] == 1


@pytest.mark.parametrize(
    ("manifest", "out", "words"),
    [
        ("s3://shop/none.toml", "s3://shop/out", "s3://shop/none.toml: does not exist"),
        ("s3://shop/few.toml", "s3://nobody/out", "s3://nobody/out: does not exist"),
        ("s3://shop/few.toml", "nosuch://shop/out", "nosuch://shop/out: Protocol not known"),
        ("s3://shop/empty.toml", "s3://shop/out", "nothing is called 'materials/none*'"),
    ],
)
def test_urls_that_lead_nowhere_are_told_in_one_line(
    bucket: Bucket, tmp_path: Path, manifest: str, out: str, words: str
) -> None:
    bucket.put("few.toml", (DRAFT + '["materials/cloth"]').encode())
    bucket.put("empty.toml", (DRAFT + '["materials/none*"]').encode())
    status, _, messages = baked(manifest, out, "--scratch", str(tmp_path), env=bucket.environment)
    assert status == 2
    assert words in json.loads(messages)["message"]


def test_a_mesh_is_fetched_with_the_files_that_it_names_and_each_of_them_once(bucket: Bucket, tmp_path: Path) -> None:
    chair = {"buffers": [{"uri": "chair.bin"}], "images": [{"uri": "wood/albedo.1001.png"}]}
    meshes = {
        "chair.gltf": json.dumps(chair), "lamp.obj": "mtllib lamp.mtl\n", "lamp.mtl": "map_Kd wood/albedo.1001.png\n",
    }  # fmt: skip
    for name in ("chair.bin", "wood/albedo.1001.png", "wood/albedo.1002.png", "sofa.gltf", "sofa.bin", "wood/sofa.png"):
        bucket.put(f"meshes/{name}", name.encode())
    for name, text in meshes.items():
        bucket.put(f"meshes/{name}", text.encode())
    tiles = {"wood/albedo.1001.png", "wood/albedo.1002.png"}
    script = """
import sys, pathlib, texsynth.bake.remote
for url in sys.argv[2:]:
    print(texsynth.bake.remote.fetched(url, pathlib.Path(sys.argv[1])))
"""
    urls = [f"s3://shop/meshes/{name}" for name in ("chair.gltf", "lamp.obj", "chair.gltf")]
    command = [sys.executable, "-c", script, str(tmp_path), *urls]
    done = subprocess.run(command, env=bucket.environment, capture_output=True, text=True, check=True)
    one, two, again = (Path(line) for line in done.stdout.splitlines())
    assert again == one
    for mesh, others in ((one, {"chair.bin"}), (two, {"lamp.mtl"})):
        assert mesh.read_text() == meshes[mesh.name]
        found = {path.relative_to(mesh.parent).as_posix() for path in mesh.parent.rglob("*") if path.is_file()}
        assert found == {mesh.name} | others | tiles
        assert {(mesh.parent / tile).read_text() for tile in tiles} == tiles
    assert all((one.parent / tile).samefile(two.parent / tile) for tile in tiles)
    bucket.put("meshes/wood/albedo.1002.png", b"changed")
    done = subprocess.run(command, env=bucket.environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.splitlines()[0]).with_name("wood").joinpath("albedo.1002.png").read_bytes() == b"changed"
