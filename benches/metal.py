"""Bare metal: thousands of simulated nodes in one process, as `benches/run` measures them.

The client is Python on the same cores. `at_once` and `cloud` are those of benches/run.
"""

import itertools
import json
import time

VERSION = {"X-OpenStack-Ironic-API-Version": "1.95"}
BASE = "/baremetal/v1"


class Fleet:
    """Simulated nodes, and verbs for all of them."""

    def __init__(self, cloud, at_once):
        self.cloud, self.at_once = cloud, at_once
        self.ids = []

    def ask(self, client, method, path, body=None):
        return client.call(method, BASE + path, body, **VERSION)[1]

    def enrol(self, count):
        """Seconds."""
        numbers = itertools.count(len(self.ids))

        def one(client):
            body = {"driver": "fake-hardware", "name": f"bm{next(numbers)}", "resource_class": "bm.small"}
            self.ids.append(json.loads(self.ask(client, "POST", "/nodes", body))["uuid"])

        return self.at_once(20, count, one, self.cloud.client)

    def verb(self, verb, state, ids):
        """Seconds until all of these nodes are where the verb leads."""
        left = list(ids)

        def one(client):
            self.ask(client, "PUT", f"/nodes/{left.pop()}/states/provision", {"target": verb})

        before = self.count(state) if state != "manageable" or verb != "inspect" else 0
        begun = time.monotonic()
        self.at_once(20, len(ids), one, self.cloud.client)
        self.wait_for(state, before + len(ids))
        return time.monotonic() - begun

    def count(self, state):
        client, marker, found = self.cloud.client(), "", 0
        while True:
            query = f"/nodes?provision_state={state}&fields=uuid&limit=1000{marker}"
            nodes = json.loads(self.ask(client, "GET", query))["nodes"]
            found += len(nodes)
            if len(nodes) < 1000:
                return found
            marker = f"&marker={nodes[-1]['uuid']}"

    def wait_for(self, state, count):
        begun = time.monotonic()
        while self.count(state) < count:
            if time.monotonic() - begun > 1200:
                raise SystemExit(f"benches: {self.count(state)} of {count} nodes are {state}")
            time.sleep(0.02)

    def read(self):
        """How many nodes' power was read since the start."""
        text = self.cloud.client().call("GET", "/metrics")[1].decode()
        return sum(line.startswith("corten_node_reachable{") for line in text.splitlines())


def measure(cloud, table, at_once, times, nodes, deploys):
    fleet = Fleet(cloud, at_once)
    hundred = fleet.enrol(100)
    lives = [fleet.verb(*step, fleet.ids) for step in [("manage", "manageable"), ("provide", "available"), ("active", "active")]]
    table.row("100 fake nodes: manage, provide, deploy", "22.2 s", "< 0.5 s", f"{sum(lives):.2f} s", 22.2 / sum(lives))
    took = hundred + fleet.enrol(900)
    client = cloud.client()
    listed = sorted(times(lambda: fleet.ask(client, "GET", "/nodes?limit=1000"), 21))[10]
    table.row("1,000 bare-metal nodes listed", "199 ms", "< 10 ms", f"{listed:.1f} ms", 199 / listed)
    took += fleet.enrol(nodes - 1000)
    table.row(f"{nodes:,} nodes enrolled", "", "", f"{nodes / took:.0f} /s")
    fresh = fleet.ids[100:]
    table.row(f"{len(fresh):,} of them verified", "", "", f"{len(fresh) / fleet.verb('manage', 'manageable', fresh):.0f} /s")
    inspected = fleet.verb("inspect", "manageable", fresh)
    table.row(f"{len(fresh):,} of them inspected", "", "", f"{len(fresh) / inspected:.0f} /s")
    table.row(f"{len(fresh):,} of them wiped", "", "", f"{len(fresh) / fleet.verb('provide', 'available', fresh):.0f} /s")
    deployed = fleet.verb("active", "active", fresh[:deploys])
    table.row(f"{deploys} deployed at once", "", "", f"{deployed:.1f} s")
    begun = time.monotonic()
    while fleet.read() < nodes and time.monotonic() - begun < 300:
        time.sleep(0.5)
    before, begun = cloud.cpu_secs(), time.monotonic()
    time.sleep(60)
    share = (cloud.cpu_secs() - before) / (time.monotonic() - begun)
    table.row(f"power of {nodes:,} nodes read each 60 s: processor", "", "", f"{share * 100:.0f} %")
    table.row(f"memory with {nodes:,} nodes", "", "", f"{cloud.memory_mib():.0f} MB")
