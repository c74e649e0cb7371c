# make demo   install into .venv, make an exemplar and an asset, restyle the asset at 8192 x 8192 (SIZE=2048 is quicker)
# make test   install into .venv with the test tools, then lint, types and tests
# make page   build the service's web page from plugin_bridge/web into grpc/texsynth_rpc/page (Node.js, npm)
# make train  train our models on a folder of materials, DATA=FOLDER, into out/train (PRESET=base on a GPU)
# make soak   half an hour of mixed calls to the service, whose memory, files and threads must not grow (MINUTES=30)
# make clean  remove .venv, caches and the demo's output

SIZE ?= 8192
PRESET ?= small
MINUTES ?= 30
DEMO := out/demo
BIN := .venv/bin

# Tests start hundreds of processes, which would all compile what they import.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test types pytest page train soak clean

help:
	@sed -n 's/^# make/make/p' Makefile

# The stamps make the second run skip the install.
.venv/.installed: pyproject.toml scripts/install.sh
	@bash scripts/install.sh .
	@touch $@

.venv/.installed-test: pyproject.toml scripts/install.sh scripts/install_test_tools.sh tests/web/package-lock.json plugin_bridge/web/package-lock.json
	@bash scripts/install.sh '.[test]'
	@touch .venv/.installed $@

.venv/.installed-diffusers: pyproject.toml scripts/install.sh
	@bash scripts/install.sh '.[diffusers]'
	@touch .venv/.installed $@

demo: .venv/.installed
	$(BIN)/texsynth procedural stone_wall -o $(DEMO)/exemplar --size 1024
	$(BIN)/texsynth sample-asset -o $(DEMO)/asset
	$(BIN)/texsynth restyle $(DEMO)/asset/asset.glb --style $(DEMO)/exemplar -o $(DEMO)/result --size $(SIZE) --preset draft

# Types are checked beside the tests, which often wait.
test: .venv/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@$(MAKE) --no-print-directory -j 2 types pytest

types: .venv/.installed-test
	$(BIN)/mypy

pytest: .venv/.installed-test
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

page:
	npm ci --prefix plugin_bridge/web --no-audit --no-fund
	npm run build --prefix plugin_bridge/web

train: .venv/.installed-diffusers
	@test -n "$(DATA)" || { echo "make train: name a folder with one folder of maps a material: make train DATA=FOLDER"; exit 2; }
	$(BIN)/texsynth model train estimator --data "$(DATA)" -o out/train/estimator --preset $(PRESET) --resume
	$(BIN)/texsynth model train autoencoder --data "$(DATA)" -o out/train/autoencoder --preset $(PRESET) --resume
	$(BIN)/texsynth model train reference --data "$(DATA)" -o out/train/reference --preset $(PRESET) --resume

soak: .venv/.installed
	$(BIN)/python benchmarks/soak.py --minutes $(MINUTES)

clean:
	rm -rf .venv tests/web/node_modules plugin_bridge/web/node_modules tests/web/chromium/unpacked build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis $(DEMO)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
