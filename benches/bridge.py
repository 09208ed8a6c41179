"""Two guests by hand on a plain Linux bridge, in a network namespace of their own: what Corten's switch is measured beside."""

import json
import pathlib
import subprocess
import tempfile

NAMESPACE = "corten-bench"
BRIDGE = "bench0"


def run(*words):
    subprocess.run([str(word) for word in words], check=True)


def config_drive(folder, name, mac, address, script):
    """A drive that gives the guest its address and its work."""
    latest = folder / name / "openstack" / "latest"
    latest.mkdir(parents=True)
    network = {
        "links": [{"id": "nic", "ethernet_mac_address": mac, "mtu": 1442}],
        "networks": [{"link": "nic", "type": "ipv4", "ip_address": address, "netmask": "255.255.255.0", "routes": []}],
        "services": [],
    }
    (latest / "meta_data.json").write_text(json.dumps({"uuid": name, "hostname": name}))
    (latest / "network_data.json").write_text(json.dumps(network))
    (latest / "user_data").write_text(script)
    drive = folder / f"{name}.iso"
    run("genisoimage", "-quiet", "-V", "config-2", "-J", "-R", "-o", drive, folder / name)
    return drive


class Bridge:
    """A bridge without addresses, and guests on it. Use it in a `with`."""

    def __init__(self, image, accelerator):
        self.image, self.accelerator = image, accelerator
        self.folder = tempfile.TemporaryDirectory(prefix="corten-bench.")
        self.guests = []

    def __enter__(self):
        run("ip", "netns", "add", NAMESPACE)
        run("ip", "-n", NAMESPACE, "link", "add", BRIDGE, "type", "bridge")
        run("ip", "-n", NAMESPACE, "link", "set", BRIDGE, "mtu", 1442, "up")
        return self

    def guest(self, name, address, script):
        """Starts a guest. The file of its console."""
        folder, number = pathlib.Path(self.folder.name), len(self.guests)
        tap, mac = f"bench{number + 1}", f"52:54:00:be:0c:0{number + 1}"
        run("ip", "-n", NAMESPACE, "tuntap", "add", tap, "mode", "tap")
        run("ip", "-n", NAMESPACE, "link", "set", tap, "mtu", 1442, "master", BRIDGE, "up")
        drive = config_drive(folder, name, mac, address, script)
        disk, console = folder / f"{name}.qcow2", folder / f"{name}.log"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self.image, disk, "1G")
        line = ["ip", "netns", "exec", NAMESPACE, "qemu-system-x86_64", "-M", "q35", "-accel", self.accelerator, "-m", "512",
                "-display", "none", "-serial", f"file:{console}", "-drive", f"if=virtio,file={disk},format=qcow2",
                "-drive", f"if=virtio,file={drive},format=raw,readonly=on",
                "-netdev", f"tap,id=n,ifname={tap},script=no,downscript=no",
                "-device", f"virtio-net-pci,netdev=n,mac={mac},romfile="]
        if self.accelerator == "kvm":
            line += ["-cpu", "host"]
        self.guests.append(subprocess.Popen(line))
        return console

    def __exit__(self, *_):
        for guest in self.guests:
            guest.kill()
            guest.wait()
        run("ip", "netns", "del", NAMESPACE)
        self.folder.cleanup()
