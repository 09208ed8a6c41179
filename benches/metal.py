"""Bare metal: thousands of simulated nodes, as `benches/run` measures them.

Fake nodes live in the control plane's own process. Those of a rack are behind BMCs of their own in another process: they
speak Redfish, boot from virtual media, and run the ramdisk's own code, with boots and disks that take no time. What a deploy
takes there is the control plane's share of one.

The client is Python on the same cores. `at_once` and `cloud` are those of benches/run.
"""

import atexit
import itertools
import json
import re
import resource
import struct
import subprocess
import threading
import time

VERSION = {"X-OpenStack-Ironic-API-Version": "1.95"}
BASE = "/baremetal/v1"


class Fleet:
    """Fake nodes, and verbs for all of them."""

    def __init__(self, cloud, at_once):
        self.cloud, self.at_once = cloud, at_once
        self.ids = []

    def add(self, client, number):
        """Enrols one node; its id."""
        body = {"driver": "fake-hardware", "name": f"bm{number}", "resource_class": "bm.small"}
        return json.loads(self.ask(client, "POST", "/nodes", body))["uuid"]

    def ask(self, client, method, path, body=None):
        return client.call(method, BASE + path, body, **VERSION)[1]

    def enrol(self, count):
        """Seconds."""
        numbers = itertools.count(len(self.ids))

        def one(client):
            self.ids.append(self.add(client, next(numbers)))

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


class Rack(Fleet):
    """Nodes behind BMCs of their own."""

    def __init__(self, cloud, at_once, program, count):
        super().__init__(cloud, at_once)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.process = subprocess.Popen([program, str(count)], stdout=subprocess.PIPE, text=True)
        self.servers = [self.process.stdout.readline().split() for _ in range(count)]

    def add(self, client, number):
        url, system, mac = self.servers[number]
        access = {"redfish_username": "admin", "redfish_password": "s3cret-horse"}
        info = {"redfish_address": url, "redfish_system_id": system} | access
        body = {"driver": "redfish", "name": f"rack{number}", "resource_class": "bm.small", "driver_info": info}
        node = json.loads(self.ask(client, "POST", "/nodes", body))["uuid"]
        self.ask(client, "POST", "/ports", {"node_uuid": node, "address": mac})
        return node

    def stop(self):
        self.process.kill()
        self.process.wait()


PROVISIONING = """
[provisioning]
kernel = "stub"
ramdisk = "stub"
[[provisioning.networks]]
name = "provisioning"
interface = "lo"
address = "127.96.0.1/12"
first = "127.97.0.0"
last = "127.99.255.255"
"""


class Meanwhile:
    """Asks a small question again and again, and keeps the longest answer."""

    def __init__(self, cloud):
        self.client, self.worst, self.going = cloud.client(), 0, True
        self.thread = threading.Thread(target=self.ask)
        self.thread.start()

    def ask(self):
        while self.going:
            begun = time.monotonic()
            self.client.call("GET", BASE + "/nodes?limit=1", **VERSION)
            self.worst = max(self.worst, time.monotonic() - begun)
            time.sleep(0.05)

    def stop(self):
        """Seconds."""
        self.going = False
        self.thread.join()
        return self.worst


def partitioned(size):
    """Zeros with an MBR of one Linux partition, for a config drive wants a table that it can be added to."""
    image = bytearray(size)
    image[446:462] = struct.pack("<B3xB3xII", 0x80, 0x83, 1, size // 512 - 1)
    image[510:512] = b"\x55\xaa"
    return bytes(image)


def rented(cloud, count):
    """Seconds until so many instances on metal, asked for at once, are ACTIVE."""
    client = cloud.client()
    before = len(client.get("/compute/v2.1/servers?status=ACTIVE&limit=1000")["servers"])
    begun = time.monotonic()
    cloud.create(client, count, flavorRef=cloud.metal, networks="auto")
    while True:
        servers = client.get("/compute/v2.1/servers?status=ACTIVE&limit=1000")["servers"]
        if len(servers) >= before + count:
            return time.monotonic() - begun
        if client.get("/compute/v2.1/servers?status=ERROR&limit=1")["servers"]:
            raise SystemExit("benches: an instance on metal is in ERROR")
        time.sleep(0.01)


def busy(cloud, secs=60):
    """The share of one core that the control plane takes while nobody asks."""
    before, begun = cloud.cpu_secs(), time.monotonic()
    time.sleep(secs)
    return (cloud.cpu_secs() - before) / (time.monotonic() - begun)


def flavor(cloud):
    client = cloud.client()
    body = {"flavor": {"name": "bm.small", "vcpus": 1, "ram": 1024, "disk": 0}}
    made = json.loads(client.call("POST", "/compute/v2.1/flavors", body)[1])["flavor"]["id"]
    specs = {"extra_specs": {"resources:CUSTOM_BM_SMALL": "1", "resources:VCPU": "0"}}
    client.call("POST", f"/compute/v2.1/flavors/{made}/os-extra_specs", specs)
    return made


def wired(cloud, table, at_once, program, nodes, deploys):
    """Over the wire."""
    (cloud.data / "stub").write_text("never run")
    cloud.metal = flavor(cloud)
    # Whole servers get the cloud's default images only.
    cloud.image = cloud.upload(partitioned(1 << 20), "raw", visibility="public")
    rack = Rack(cloud, at_once, program, nodes)
    atexit.register(rack.stop)
    took = rack.enrol(nodes)
    table.row(f"{nodes:,} nodes behind BMCs enrolled", "", "", f"{nodes / took:.0f} /s")
    begun = time.monotonic()
    verified = rack.verb("manage", "manageable", rack.ids)
    table.row("  verified by Redfish", "", "", f"{nodes / verified:.0f} /s")
    while rack.read() < nodes:
        time.sleep(0.2)
    table.row("  the power of all known", "", "< 120 s", f"{time.monotonic() - begun:.0f} s")
    some = rack.ids[: deploys + 5]
    inspected = rack.verb("inspect", "manageable", some)
    table.row(f"  {len(some)} of them inspected", "", "", f"{len(some) / inspected:.1f} /s")
    wiped = rack.verb("provide", "available", some)
    table.row(f"  {len(some)} of them booted and wiped", "", "", f"{len(some) / wiped:.1f} /s")
    shares = sorted(rented(cloud, 1) for _ in range(5))
    table.row("  control plane's share of one deploy", "", "< 5 s", f"{shares[2]:.2f} s")
    meanwhile = Meanwhile(cloud)
    table.row(f"  {deploys} deployed at once", "", "", f"{rented(cloud, deploys):.0f} s")
    table.row("  meanwhile a question of another, at worst", "", "", f"{meanwhile.stop() * 1e3:.0f} ms")
    table.row("  power read over the wire each 60 s: processor", "", "", f"{busy(cloud) * 100:.0f} %")
    table.row("  memory", "", "", f"{cloud.memory_mib():.0f} MB")


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
    table.row(f"power of {nodes:,} nodes read each 60 s: processor", "", "", f"{busy(cloud) * 100:.0f} %")
    table.row(f"memory with {nodes:,} nodes", "", "", f"{cloud.memory_mib():.0f} MB")
