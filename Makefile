# Thin: every target calls one program of the workspace. `make help` lists them.
CARGO  ?= cargo
BOARD  ?= qemu-arm64
TARGET ?= aarch64-unknown-linux-musl

# Without -p: the dependencies then have the same features in every command, and are built once.
imagegen := $(CARGO) run --bin hypriot-imagegen --

.DEFAULT_GOAL := help
.PHONY: help demo test test-power-cuts test-stick test-suite test-faults power-cut-proof fault-matrix
.PHONY: bench-fleet bench-delta bench-install test-page test-popular test-owner test-user-data test-old-agent advisories
.PHONY: test-packages
.PHONY: test-cluster test-flood test-boards test-fidelity fuzz bench-image lint agent deb sd-image
.PHONY: test-integration release-tools docs docs-reference goss-parity bench-health lint-workflows lint-monitoring pictures
.PHONY: bench-neighbours need-rust need-agent need-image need-bench need-near need-papers need-all

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 22

demo: need-rust ## everything from nothing: build, boot a virtual board, update A -> B, roll back
	$(CARGO) run --bin hypriot-demo

ARGS ?=
test: need-all ## every test, the same that .ci/run runs, and where the time went; make test ARGS=papers for some
	$(CARGO) run --bin hypriot-test -- $(ARGS)

test-power-cuts: need-all ## ten random power cuts during updates of a virtual board, about half an hour
	HYPRIOT_SCENARIO=power-cuts $(CARGO) test --workspace --test life a_board_lives -- --nocapture

test-stick: need-all ## a virtual board gets its update by a USB stick, ten minutes
	HYPRIOT_SCENARIO=stick $(CARGO) test --workspace --test life a_board_lives -- --nocapture

test-suite: need-all ## every self-test of a virtual board, after its first boot and after an update, a quarter of an hour
	HYPRIOT_SCENARIO=suite $(CARGO) test --workspace --test life a_board_lives -- --nocapture

test-owner: need-all ## an image with everything a recipe can say, flashed, started, validated and updated; a quarter of an hour
	HYPRIOT_SCENARIO=owner $(CARGO) test --workspace --test life a_board_lives -- --nocapture

test-packages: need-all ## packages that an owner adds to a virtual board: added, updated, a release without them goes back
	HYPRIOT_SCENARIO=packages $(CARGO) test --workspace --test life a_board_lives -- --nocapture

test-cluster: need-all ## four virtual boards of one image, a Swarm, are updated in waves; a bad release; an hour
	HYPRIOT_SCENARIO=cluster $(CARGO) test --workspace --test life a_board_lives -- --nocapture

test-user-data: need-all ## what owners write into user-data: each sample flashed, started and looked at, a quarter of an hour
	HYPRIOT_SCENARIO=user-data $(CARGO) test --workspace --test life a_board_lives -- --nocapture

test-faults: need-all ## cells of the fault matrix on a virtual board, an hour and a half: CELLS="memory; is garbage" for some
	HYPRIOT_SCENARIO=faults HYPRIOT_CELLS="$(CELLS)" $(CARGO) test --workspace --test life a_board_lives -- --nocapture

OLD ?= 329cc59
test-old-agent: need-all ## an older agent's program and today's over the same /data, in both directions: OLD=revision
	$(CARGO) build --bin hypriot-agent --bin hypriot-fleet
	$(CARGO) run --bin hypriot-old-agent -- $(OLD)

power-cut-proof: need-rust ## every state that a power cut may leave of a whole life of a board, in memory, two minutes
	HYPRIOT_POWER_CUTS=all $(CARGO) test --workspace --lib -- power_cuts --nocapture

fault-matrix: need-rust ## every fault beside an update at every moment of it, through the real update loop; also in make test
	$(CARGO) test --workspace --lib -- update::matrix --nocapture

test-flood: need-all ## 1,000 connections from 50 addresses for a minute, and /livez answers; shorter in make test
	$(CARGO) build --bin hypriot-agent
	HYPRIOT_FLOOD=full $(CARGO) test --workspace --test flood -- --nocapture

BOARDS ?=
test-boards: need-all ## every board's image, built and inspected: BOARDS="qemu-armhf rpi" BOOT=1 ARGS="--suite …"
	$(CARGO) run --bin hypriot-boards -- $(if $(BOOT),--boot) $(BOARDS) $(if $(ARGS),-- $(ARGS))

test-fidelity: need-all ## the fast way of configuring against full emulation, whole recipe, half an hour
	HYPRIOT_FIDELITY=full $(CARGO) test --workspace --test fidelity -- --nocapture

test-popular: need-all ## server packages that owners install, natively: six in a tree; ALL=1 for all, hours
	HYPRIOT_POPULAR=$(if $(ALL),all,few) $(CARGO) test --workspace --test popular -- --nocapture

bench-image: need-bench ## our root tree beside mmdebstrap's, emulated and native, and one with servers, about 40 minutes
	$(CARGO) run --bin hypriot-bench -- image

bench-delta: need-bench need-agent ## an update's bytes beside zstd, xdelta3, zchunk, casync, RAUC on the same pairs, half an hour
	$(CARGO) build --release --bin hypriot-agent
	$(CARGO) build --workspace --bins
	$(CARGO) run --bin hypriot-bench -- delta

bench-install: need-bench need-agent ## a full image into a slot: ours, RAUC, SWUpdate, and zstd -d as the limit, ten minutes
	$(CARGO) build --release --bin hypriot-agent
	$(CARGO) build --workspace --bins
	$(CARGO) run --bin hypriot-bench -- install

bench-neighbours: need-near need-agent ## twelve boards on a bridge install at once: what the source sends; three minutes
	$(CARGO) build --release --bin hypriot-agent
	$(CARGO) run --bin hypriot-bench -- neighbours

bench-fleet: need-rust ## hypriot-fleet serve: 1,000 simulated boards, locks a second with its own store and with three of etcd
	$(CARGO) build --bin hypriot-fleet --example plain_lock
	$(CARGO) run --bin hypriot-bench -- fleet

bench-health: need-papers ## /health beside goss serve and the node exporter, suites beside goss: two minutes and a release build
	$(CARGO) build --release --bin hypriot-agent
	$(CARGO) run --bin hypriot-bench -- health

SECONDS ?= 60
fuzz: need-rust ## metadata, index, payload, boot state, record, recipes; rustup nightly: make fuzz SECONDS=300
	tests/fuzz $(SECONDS)

lint: need-rust ## formatting and clippy, warnings are errors; cargo-deny if it is installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if command -v cargo-deny >/dev/null; then $(CARGO) deny check bans licenses sources; \
	else echo "cargo-deny is not installed: skipped (cargo install cargo-deny --locked)"; fi

advisories: need-rust ## known faults of what we depend on, by RustSec's list (needs cargo-deny and a network)
	$(CARGO) deny check

docs: need-rust ## the book, docs/book/index.html (compiles mdBook into .cache/tools, once)
	$(CARGO) run --bin hypriot-papers -- book

goss-parity: need-papers ## every property's verdict beside the goss program's, which is fetched; also in make test
	$(CARGO) test --workspace --test goss_parity -- --nocapture

docs-reference: need-rust ## write the parts of pages that come from the code: commands, settings, metrics, boards
	$(CARGO) run --bin hypriot-papers -- reference

lint-workflows: need-papers ## judge .github/workflows with zizmor and actionlint, without asking GitHub anything
	$(CARGO) run --bin hypriot-papers -- workflows

test-page: need-papers ## the pages of a board and of hypriot-fleet serve in Chromium, judged by axe (needs chromium, npm)
	$(CARGO) build --bin hypriot-fleet --bin hypriot-agent
	$(CARGO) run --bin hypriot-papers -- page

pictures: need-rust ## draw the pictures of the README from a virtual board that runs (needs chromium)
	$(CARGO) run --bin hypriot-papers -- pictures

lint-monitoring: need-papers ## judge the alert rules and the dashboard of docs/ with promtool
	$(CARGO) run --bin hypriot-papers -- monitoring

agent: need-agent ## the static agent, for one target or several: make agent TARGET="arm64 armhf armel"
	$(imagegen) agent $(TARGET:%=--target %) --out out

deb: need-agent ## the agent as a Debian package, for boards of another system: make deb TARGET=armhf
	$(imagegen) deb --target $(TARGET) --out out

sd-image: need-image ## a tested image, .img.zip + .sha256, .img.zst, .bmap, release, papers: make sd-image BOARD=rpi64
	$(imagegen) image --board $(BOARD) --out out --zip --zst

release-tools: need-agent ## what a release is made with, in out/: host programs and the agents of all boards
	$(CARGO) build --release --bin hypriot-imagegen --bin hypriot-keys --bin hypriot-fleet
	$(imagegen) agent --target arm64 --target armhf --target armel --out out
	cp target/release/hypriot-imagegen target/release/hypriot-keys target/release/hypriot-fleet out/

test-integration: need-rust ## the self-tests of boards that run, as TAP: make test-integration BOARD=192.168.1.20
	$(if $(filter file,$(origin BOARD)),$(error say which board: make test-integration BOARD=192.168.1.20))
	$(CARGO) run --bin hypriot-fleet -- validate --hosts $(BOARD)

need-agent: need-rust
	$(imagegen) doctor --install --for agent

need-image: need-rust
	$(imagegen) doctor --install --for agent --for image

need-bench: need-rust
	$(imagegen) doctor --install --for bench

need-near: need-rust
	$(imagegen) doctor --install --for near

need-papers: need-rust
	$(imagegen) doctor --install --for papers

need-all: need-rust
	$(imagegen) doctor --install --for test

# The only needs that our own doctor cannot look after: it is written in Rust and links with cc.
need-rust:
	@command -v $(firstword $(CARGO)) >/dev/null || { \
	  echo "Rust is missing: install rustup as https://rustup.rs says, then run make again"; exit 1; }
	@command -v cc >/dev/null || { set -e; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then sudo=; \
	  elif command -v sudo >/dev/null && command -v apt-get >/dev/null; then sudo=sudo; \
	  else echo "a C compiler is missing: install gcc and the C library's headers (Debian: gcc libc6-dev)"; exit 1; fi; \
	  $$sudo apt-get -q update && $$sudo apt-get -q -y install --no-install-recommends gcc libc6-dev; }
