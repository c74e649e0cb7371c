"""The checkpoints that an operator lets clients of the service name."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from checkpoints import small_sd15
from service_process import serving
from texsynth_rpc.lent_models import parse_models, without_paths

from plugin_bridge.__main__ import main as command_line
from plugin_bridge.aio_client import AsyncClient
from plugin_bridge.errors import ServiceError
from texsynth.cli import main
from texsynth.errors import TexsynthError


def test_names_that_are_none_and_folders_that_are_absent_are_refused_in_one_line(tmp_path: Path) -> None:
    assert parse_models([f"mine={tmp_path}"]) == {"mine": tmp_path}
    with pytest.raises(TexsynthError, match="models: got 'mine'; use NAME=FOLDER"):
        parse_models(["mine"])
    with pytest.raises(TexsynthError, match=r"models: got '\.\./x=/'; use NAME=FOLDER"):
        parse_models(["../x=/"])
    with pytest.raises(TexsynthError, match="models: 'mine' is given twice"):
        parse_models([f"mine={tmp_path}", f"mine={tmp_path}"])
    with pytest.raises(TexsynthError, match="models: '/absent' is no folder"):
        parse_models(["mine=/absent"])


def test_every_client_can_list_what_is_lent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lent = [f"--models={name}={tmp_path}" for name in ("mine", "another")]
    with serving(tmp_path / "data", *lent) as server, server.client() as client:
        assert client.models() == ["another", "mine"]
        assert asyncio.run(_listed(server.address)) == ["another", "mine"]
        assert command_line(["--server", server.address, "models"]) == 0
    assert capsys.readouterr().out == "another\nmine\n"


async def _listed(address: str) -> list[str]:
    async with AsyncClient(address) as client:
        return await client.models()


def test_a_service_that_lends_nothing_lists_nothing(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server, server.client() as client:
        assert client.models() == []


def test_a_client_names_a_model_and_learns_no_path_of_it(gravel: Path, tmp_path: Path) -> None:
    folder = small_sd15(tmp_path / "weights" / "tiny")
    with serving(tmp_path / "data", "--models", f"mine={folder}") as server, server.client() as client:
        for unknown in ("other", str(folder)):
            with pytest.raises(ServiceError) as refused:
                client.synthesize(gravel, size=128, preset="draft", model=unknown)
            assert refused.value.field == "work.synthesize.options.model"
            assert str(refused.value).endswith(f"there is no model {unknown[:80]!r}; use one of mine")
        job = client.synthesize(gravel, size=128, preset="draft", model="mine")
        client.wait(job.id)
        client.fetch(job.id, tmp_path / "out")
    manifest = (tmp_path / "out" / "material.json").read_text()
    assert json.loads(manifest)["model"]["led_by"]["name"] == "tiny"
    assert str(tmp_path / "weights") not in manifest
    assert main(["verify", str(tmp_path / "out")]) == 0


def test_messages_say_the_names_of_models_and_not_where_they_lie() -> None:
    outer, inner = Path("/models/paint"), Path("/models/paint/inked")
    models = {"ink": inner, "paint": outer, "also paint": outer}
    assert without_paths(f"{inner}: is damaged", models) == "ink: is damaged"
    assert without_paths(f"{outer}/model_index.json: is absent", models) == (
        "paint or also paint/model_index.json: is absent"
    )
