# Corten: a cloud in one command. `make help` lists what can be done.

CORTEN_DATA ?= .corten
CORTEN_LISTEN ?= 127.0.0.1:8774
ACCEPTANCE ?= $(wildcard ../shared/acceptance)
LIST ?= visible.txt
export CORTEN_DATA CORTEN_LISTEN

corten := target/release/corten

.DEFAULT_GOAL := help
.PHONY: help up down destroy deps build ramdisk demo-metal test test-guests test-stock-agent test-redfish lint docs bench tempest

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20
	@echo
	@echo "  CORTEN_DATA=$(CORTEN_DATA)  CORTEN_LISTEN=$(CORTEN_LISTEN)"

up: ## start a cloud here and boot a first virtual machine
	@scripts/deps build run
	@cargo build --release --bin corten
	@$(corten) up

down: ## stop the control plane; guests go on running, and the next `make up` adopts them
	@test -x $(corten) || { echo "make down: there is no $(corten), so nothing was started from here"; exit 1; }
	@$(corten) down

destroy: ## stop everything and remove all data, after asking
	@test -x $(corten) || { echo "make destroy: there is no $(corten), so nothing was started from here"; exit 1; }
	@$(corten) destroy

deps: ## install the Debian packages that are missing
	@scripts/deps build run test

build: ## build the release binary
	@scripts/deps build
	@cargo build --release --bin corten

ramdisk: ## build the deploy ramdisk of bare-metal servers, target/ramdisk.kernel and target/ramdisk.initrd
	@scripts/deps build
	@cargo build --release --bin corten
	@$(corten) image build ramdisk --agent "$$(scripts/ramdisk-agent)" --output target

demo-metal: ## three servers of QEMU, from their BMCs to a tenant and back, told step by step; CORTEN_DEMO_IMAGE=tiny is quicker
	@scripts/deps build run test
	@scripts/venv
	@PATH="$$PWD/.venv/bin:$$PATH" cargo test --workspace --test metal -- --ignored --nocapture --exact demo

test: ## run everything that must hold: lints and all tests
	@scripts/test

test-guests: ## install Debian, boot it on a network and log in, which takes minutes without KVM
	@scripts/deps build run test
	@cargo test --workspace --test debian_guest -- --ignored

test-stock-agent: ## have OpenStack's ironic-python-agent wipe and deploy a server; CORTEN_STOCK_FIRMWARE=bios takes PXE
	@scripts/deps build run test
	@scripts/venv
	@PATH="$$PWD/.venv/bin:$$PATH" cargo test --workspace --test metal -- --ignored --nocapture --exact \
	    the_stock_agent_of_openstack_wipes_a_server_and_deploys_it

test-redfish: ## have DMTF's validators judge the simulated Redfish service
	@scripts/redfish-validator

lint: ## check format, lints and the house rules
	@scripts/lint

docs: ## write the generated documents anew
	@CORTEN_BLESS=1 cargo test --quiet -p corten-model --test lifecycle_docs

bench: ## measure, beside the figures of OpenStack
	@scripts/deps build run test
	@cargo build --release --bin corten --example fleet --features corten-sim/ramdisk
	@benches/run
	@scripts/with-postgres cargo run --quiet --release -p corten-store --features testing --example measure

tempest: ## run OpenStack's own tests against the running cloud (LIST=…, ACCEPTANCE=folder)
	@scripts/tempest "$(ACCEPTANCE)" "$(LIST)"
