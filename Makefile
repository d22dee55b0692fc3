.PHONY: demo test lint bench soak soak-full golden docs audit compat coverage mutants screenshots

demo: ## the sentiment service under traffic; open the page it names. STACK=1: with Prometheus and Alertmanager
	@bash scripts/setup.sh demo
	@.venv/bin/modelwatch demo $(if $(filter-out 0 no,$(STACK)),--stack) $(ARGS)

test: ## everything that must hold: lint, types, layers, tests
	@bash scripts/test.sh

lint: ## style, types and layers only
	@bash scripts/setup.sh test
	@bash scripts/lint.sh

bench: ## ours beside the peers in one run; writes docs/benchmarks.md, and what other pages quote of it
	@bash scripts/setup.sh bench
	@.venv/bin/python -m bench $(ARGS)
	@.venv/bin/python scripts/figures.py

soak: ## faults under load, for minutes to an hour; ends with the ledger of events
	@bash scripts/setup.sh test
	@.venv/bin/python -m soak $(ARGS)

soak-full: ## the same at the scale of the reliability statements; takes as long as it takes
	@bash scripts/setup.sh test
	@.venv/bin/python -m soak --scale 1 $(ARGS)

audit: ## bandit, known vulnerabilities of the dependencies, and a bill of materials in build/sbom.json
	@bash scripts/setup.sh test
	@.venv/bin/python -m pip install -q --disable-pip-version-check bandit pip-audit cyclonedx-bom
	@.venv/bin/python scripts/audit.py

compat: ## wheel and sdist in clean environments; core tests with the oldest and newest dependencies, on every Python there is
	@bash scripts/setup.sh test
	@bash scripts/compat.sh

coverage: ## every line and branch of the pure layers is reached by their own tests, or it fails and names those that are not
	@bash scripts/setup.sh test
	@bash scripts/coverage.sh

mutants: ## how many small changes of the pure code the tests notice; hours. ONLY=src/modelwatch/slo/burn.py: one module
	@bash scripts/setup.sh test
	@bash scripts/mutants.sh $(ONLY)

golden: ## write the expected files of the tests anew
	@bash scripts/setup.sh test
	@.venv/bin/python -m pytest --update-golden -q

docs: ## write the reference from the code, check every link, build the site into build/site
	@bash scripts/setup.sh test
	@.venv/bin/python scripts/reference.py
	@python3 scripts/check_links.py
	@.venv/bin/mkdocs build --strict -q

screenshots: ## the pictures of the documents: every page in light, dark and on a phone; look at them before you commit
	@bash scripts/setup.sh test
	@.venv/bin/python scripts/screenshots.py
