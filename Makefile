# One command a habit. Each makes its own environment first (tools/environment.py); nothing else has to be installed.
#   make train ARGS="--cfg-options train_cfg.max_iters=200"   passes arguments on
#   make train PYTHON=python3.12                              chooses the interpreter
PYTHON ?= python3
ARGS ?=
SHARE ?= 1
SIDE_BY_SIDE := -n logical --maxprocesses 4 --dist loadfile
RUN := .venv/bin/python
.DEFAULT_GOAL := help
unexport PYTHONDONTWRITEBYTECODE  # else each process compiles FineViT and its tests anew
.PHONY: help environment train recaption vs-open-clip equal-flops ablation recaption-benchmark downstream bench reliability ops test test-slow check format scenes pins

help: ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

environment: ## make or refresh .venv, and nothing else
	@$(PYTHON) tools/environment.py

train: environment ## train the tiny Stage I on the embedded scenes; ends with a report page
	@$(RUN) tools/train.py configs/finevit_tiny_stage1.py $(ARGS)

vs-open-clip: environment ## train Stages I and II and open_clip's towers for the same 15 minutes each; prints the table
	@$(RUN) benchmarks/vs_open_clip/run.py $(ARGS)

equal-flops: environment ## train Stages I and II with what makes a step cheaper, at equal FLOPs; prints the table, draws the curves
	@$(RUN) benchmarks/equal_flops/run.py $(ARGS)

ablation: environment ## train encoders by Stages I to III, tune a language model on each frozen one; prints the table, draws the plot
	@$(RUN) benchmarks/ablation/run.py $(ARGS)

recaption-benchmark: environment ## train Stage II on alt texts, on recaptions out of the pipeline and on the truth; prints the table, draws the plot
	@$(RUN) benchmarks/recaptions/run.py $(ARGS)

downstream: environment ## train Mask R-CNN and UPerNet on embedded scenes, from a checkpoint and from nothing; prints the table
	@$(RUN) benchmarks/downstream/run.py $(ARGS)

recaption: environment ## recaption 500 embedded scenes, a stand-in playing the models; ends with shards and a page
	@$(RUN) tools/recaption.py configs/recaption_embedded.py $(ARGS)

bench: environment ## measure speed beside other libraries; ARGS="loss" (data, stage, startup) for more than encoders; prints the table
	@$(RUN) tools/bench.py $(or $(ARGS),encoder)

ops: environment ## build mmcv's compiled operations once, cache the wheel and install it; nothing here needs them
	@$(RUN) tools/maintenance/build_ops.py $(ARGS)

test: environment ## run the tests that take minutes at most
	@$(RUN) -m pytest $(SIDE_BY_SIDE) -m "not slow and not reliability" $(ARGS)

test-slow: environment ## run the long tests too
	@$(RUN) -m pytest -m "slow and not reliability" $(ARGS) || [ $$? -eq 5 ]

reliability: environment ## kills, power cuts, hostile files, floods: the full counts; SHARE=0.1 for a tenth; prints the table
	@$(RUN) -m pytest tests/reliability -m reliability --share $(SHARE) $(ARGS)

check: environment ## formatting, lint, types, who may import whom, no file above 300 lines
	@$(RUN) -m ruff format --check --quiet --output-format concise . || { echo "run: make format"; exit 1; }
	@$(RUN) -m ruff check --quiet .
	@$(RUN) -m mypy
	@.venv/bin/lint-imports --no-logo
	@! git ls-files '*.py' | grep -v '^tests/' | xargs wc -l | awk '$$2 != "total" && $$1 > 300' | grep . || { echo "longer than 300 lines: split"; exit 1; }

format: environment ## format the code and apply ruff's safe fixes
	@$(RUN) -m ruff check --fix --quiet . ; $(RUN) -m ruff format .

scenes: environment ## show a page of embedded scenes with their truth drawn
	@$(RUN) tools/show_data.py $(ARGS)

pins: environment ## rewrite constraints.txt from the environment
	@$(RUN) tools/maintenance/pins.py > constraints.new && mv constraints.new constraints.txt
