"""What the paper's tables are measured with: records that go on, a texture split and made again, the page."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from beyond_sampling import KEY, METHODS, TABLE, VALUES, neighbours, subject, table
from generated_table import put_table
from guided import Case, compared, enlarged, reduced, split, with_tone
from records import Record, Records
from reproduction_page import page

from mipmap.metrics import Texture
from texsynth.image_io import save_image

ROOT = Path(__file__).resolve().parent.parent
MACHINE = {"processor": "a processor"}


def weave(height: int, width: int, seed: int = 0) -> np.ndarray:
    """uint8 (height, width, 3): threads whose edges are finer than an eighth shows, and large spots."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    spots = cv2.resize(rng.uniform(size=(height // 32, width // 32)), (width, height), interpolation=cv2.INTER_CUBIC)
    threads = np.sign(np.sin(x * np.pi / 12) * np.sin(y * np.pi / 12))
    grey = 0.5 + 0.25 * (spots - 0.5) + 0.15 * threads
    return np.round(255 * np.clip(np.repeat(grey[..., None], 3, axis=2), 0, 1)).astype(np.uint8)


def saved(folder: Path, image: np.ndarray) -> Path:
    folder.mkdir()
    save_image(folder / "albedo.png", image)
    return folder


def case(height: int, width: int, tmp_path: Path) -> Case:
    return split(saved(tmp_path / "weave", weave(height, width)))


def test_what_is_recorded_is_not_measured_again_after_a_restart(tmp_path: Path) -> None:
    path, calls = tmp_path / "some" / "runs.csv", []

    def measure() -> dict[str, float]:
        calls.append(1)
        return {"loss": 0.25}

    first = Records(path, ("exemplar", "seed"), ("loss", "d")).measured({"exemplar": "a", "seed": 1}, measure)
    again = Records(path, ("exemplar", "seed"), ("loss", "d"))
    assert again.measured({"exemplar": "a", "seed": 1}, measure) == first == {
        "exemplar": "a", "seed": "1", "loss": "0.25", "d": "",
    }  # fmt: skip
    again.measured({"exemplar": "a", "seed": 2}, measure)
    assert len(calls) == 2 and len(path.read_text().splitlines()) == 3


def test_records_of_other_fields_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("exemplar,d\na,1\n")
    with pytest.raises(SystemExit, match=r"runs\.csv: has the fields exemplar, d; expected exemplar, loss"):
        Records(path, ("exemplar",), ("loss",))


def test_a_square_texture_is_judged_in_the_half_that_is_not_the_style(tmp_path: Path) -> None:
    one = case(128, 128, tmp_path)
    assert one.style.shape == (64, 128, 3) and one.asset.shape == (128, 128, 3) and one.content.shape == (16, 16, 3)
    assert one.judged == slice(64, None)


@pytest.mark.parametrize("shape", [(64, 128), (128, 64)])
def test_a_long_texture_is_judged_in_the_square_beyond_the_style(shape: tuple[int, int], tmp_path: Path) -> None:
    one, image = case(*shape, tmp_path), weave(*shape)
    assert one.style.shape == one.asset.shape == (64, 64, 3)
    assert (one.style == image[:64, :64]).all() and (one.asset == image[-64:, -64:]).all()


def test_a_texture_that_leaves_no_square_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="weave: 96 x 64; a texture is square, or twice as long as wide or more"):
        case(64, 96, tmp_path)


def test_the_content_keeps_the_light_of_each_block() -> None:
    image = weave(64, 64)
    light = Texture(image).linear().reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
    assert np.abs(Texture(reduced(image)).linear() - light).max() < 0.005


def test_with_the_contents_tone_an_eighth_of_the_result_is_the_content(tmp_path: Path) -> None:
    one = case(128, 128, tmp_path)
    other = weave(128, 128, seed=5)
    before, after = (
        np.abs(reduced(image).astype(float) - one.content).max() for image in (other, with_tone(other, one))
    )
    assert before > 10 and after <= 2


def test_the_truth_compares_best(tmp_path: Path) -> None:
    one = case(256, 256, tmp_path)
    found = compared(one.asset, one)
    assert found["mcr"] == 100 and found["adf"] == 1 and found["ssim"] == pytest.approx(1)
    assert compared(enlarged(one.content, one.side), one)["adf"] < 0.9


def guided_line(exemplar: str, seed: int, method: str, mcr: float, adf: float) -> Record:
    zeros = dict.fromkeys(("ssim", "d", "sharpness", "seconds"), "0")
    return {"exemplar": exemplar, "seed": str(seed), "method": method, "mcr": str(mcr), "adf": str(adf)} | zeros


def test_the_page_has_means_deviations_wins_and_says_what_was_not_measured() -> None:
    lines = [
        guided_line("a", 0, "Lanczos", 40, 0.5), guided_line("b", 0, "Lanczos", 40, 0.9),
        *(guided_line("a", seed, "restyle, content 1", 40, 0.6 + 0.1 * seed) for seed in range(2)),
        *(guided_line("b", seed, "restyle, content 1", 20, 0.6 + 0.1 * seed) for seed in range(2)),
    ]  # fmt: skip
    written = page({"ablations": [], "optimiser": [], "guided": lines}, ["t"], MACHINE)
    assert "| restyle, content 1 | 4 | 30.0 ± 0.0 | 0.650 ± 0.071 |" in written
    assert "- restyle, content 1 against Lanczos: MCR above on 0 of 2, equal on 1; ADF above on 1 of 2" in written
    assert "## Tables II, IV and VI\n\nnot measured." in written


def test_the_table_of_what_gradients_add_is_made_of_its_measurements(tmp_path: Path) -> None:
    records = Records(ROOT / "docs" / "reproduction" / "beyond_sampling.csv", KEY, VALUES)
    pairs = neighbours([Path(name) for name in ("acg_bark014", "acg_bricks102", "acg_rock053", "t3d_pebbles_024")])
    lines = []
    for question, methods in METHODS.items():
        about = {subject(question, one.name, other.name) for one, other in pairs}
        found = [line for line in records.lines if line["question"] == question and line["seed"] == "0"]
        found = [line for line in found if line["exemplar"] in about]
        lines += sorted(
            found, key=lambda line, known=methods: (line["method"] not in known, line["method"], line["rate"])
        )
    written = ROOT / "docs" / "muon_ad.md"
    copy = tmp_path / "page.md"
    copy.write_text(written.read_text())
    put_table(copy, TABLE, table(lines))
    assert copy.read_text() == written.read_text()


def test_a_page_without_the_comments_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# A page\n")
    with pytest.raises(SystemExit, match="has no <!-- a table -->"):
        put_table(tmp_path / "page.md", "a table", "| a |")
