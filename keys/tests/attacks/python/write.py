"""Writes repositories with python-tuf: write.py OUT makes OUT/<variant>/ with root.json, files/ and targets.json."""

import hashlib
import json
import os
import sys
from datetime import datetime, timezone

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

EXPIRES = datetime(2027, 1, 1, tzinfo=timezone.utc)
COMPACT = JSONSerializer(compact=True)
PRETTY = JSONSerializer(compact=False)


class Repository:
    def __init__(self, out, make, consistent=True, hashes=None, serializer=PRETTY):
        self.out = os.path.join(out, "files")
        os.makedirs(self.out)
        self.make = make
        self.serializer = serializer
        self.algorithms = hashes
        self.signers = {role: [make()] for role in ("root", "timestamp", "snapshot", "targets")}
        self.root = Root(expires=EXPIRES, consistent_snapshot=consistent)
        for role, signers in self.signers.items():
            self.root.add_key(signers[0].public_key, role)
        self.targets = Targets(expires=EXPIRES)
        self.delegated = {}
        self.names = {}
        self.put_root(self.signers["root"], first=True)

    def put(self, name, data):
        path = os.path.join(self.out, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    def sign(self, payload, signers):
        metadata = Metadata(payload)
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(self.serializer)

    def put_root(self, signers, first=False):
        data = self.sign(self.root, signers)
        self.put(f"{self.root.version}.root.json", data)
        if first:
            with open(os.path.join(os.path.dirname(self.out), "root.json"), "wb") as file:
                file.write(data)

    def rotate_root(self, threshold):
        """The next root: new keys for root and timestamp, the old holders sign too."""
        old = self.signers["root"]
        new = [self.make() for _ in range(threshold)]
        for signer in old:
            self.root.revoke_key(signer.public_key.keyid, "root")
        for signer in new:
            self.root.add_key(signer.public_key, "root")
        self.root.roles["root"].threshold = threshold
        timestamp = self.make()
        self.root.revoke_key(self.signers["timestamp"][0].public_key.keyid, "timestamp")
        self.root.add_key(timestamp.public_key, "timestamp")
        self.signers["root"], self.signers["timestamp"] = new, [timestamp]
        self.root.version += 1
        self.put_root(old + new)

    def add(self, role, name, data):
        target = TargetFile.from_data(name, data, self.algorithms)
        (self.targets if role == "targets" else self.delegated[role][0]).targets[name] = target
        directory, _, last = name.rpartition("/")
        prefixes = [f"{h}." for h in target.hashes.values()] if self.root.consistent_snapshot else [""]
        for prefix in prefixes:
            self.put(os.path.join(directory, prefix + last), data)
        self.names[name] = data.decode()

    def delegate(self, parent, role):
        signer = self.make()
        payload = self.targets if parent == "targets" else self.delegated[parent][0]
        if payload.delegations is None:
            payload.delegations = Delegations({}, {})
        payload.delegations.roles[role.name] = role
        payload.add_key(signer.public_key, role.name)
        self.delegated[role.name] = (Targets(expires=EXPIRES), signer)

    def publish(self):
        consistent = self.root.consistent_snapshot
        snapshot = Snapshot(expires=EXPIRES)
        roles = {"targets": (self.targets, self.signers["targets"][0]), **self.delegated}
        for name, (payload, signer) in roles.items():
            data = self.sign(payload, [signer])
            prefix = f"{payload.version}." if consistent else ""
            # As a plain web server has it, which decodes what a client encodes.
            self.put(f"{prefix}{name}.json", data)
            snapshot.meta[f"{name}.json"] = MetaFile.from_data(payload.version, data, ["sha256"])
        data = self.sign(snapshot, self.signers["snapshot"])
        self.put(("1." if consistent else "") + "snapshot.json", data)
        timestamp = Timestamp(expires=EXPIRES)
        timestamp.snapshot_meta = MetaFile.from_data(1, data, ["sha256", "sha512"])
        self.put("timestamp.json", self.sign(timestamp, self.signers["timestamp"]))
        with open(os.path.join(os.path.dirname(self.out), "targets.json"), "w", encoding="utf-8") as file:
            json.dump(self.names, file)


def variant(name, make, **options):
    out = os.path.join(sys.argv[1], name)
    os.makedirs(out)
    repository = Repository(out, make, **options)
    repository.add("targets", "board.json", f"from {name}".encode())
    return repository


variant("ed25519", CryptoSigner.generate_ed25519).publish()
variant("rsa", CryptoSigner.generate_rsa).publish()
variant("ecdsa", CryptoSigner.generate_ecdsa).publish()
variant("compact", CryptoSigner.generate_ed25519, serializer=COMPACT).publish()
variant("not-consistent", CryptoSigner.generate_ed25519, consistent=False).publish()
variant("sha512", CryptoSigner.generate_ed25519, hashes=["sha512"]).publish()
variant("both-hashes", CryptoSigner.generate_ed25519, hashes=["sha512", "sha256"]).publish()

kinds = iter([CryptoSigner.generate_ed25519, CryptoSigner.generate_ecdsa, CryptoSigner.generate_rsa] * 10)
rotated = variant("rotated", lambda: next(kinds)())
rotated.rotate_root(2)
rotated.rotate_root(3)
rotated.publish()

delegated = variant("delegated", CryptoSigner.generate_ed25519)
delegated.delegate("targets", DelegatedRole("team a", [], 1, False, ["team-a/*", "*.tgz"]))
delegated.delegate("team a", DelegatedRole("inner", [], 1, True, ["team-a/deep*"]))
digest = hashlib.sha256(b"binned").hexdigest()
delegated.delegate("targets", DelegatedRole("bin", [], 1, True, None, [digest[:3]]))
delegated.add("team a", "team-a/app", b"app")
delegated.add("team a", "x.tgz", b"x")
delegated.add("inner", "team-a/deep-app", b"deep")
delegated.add("bin", "binned", b"binned")
delegated.publish()

unknown = variant("unknown-fields", CryptoSigner.generate_ed25519)
unknown.root.unrecognized_fields["note"] = {"ü": [1, None, True], "quote\"": "back\\slash\nline"}
unknown.targets.unrecognized_fields["note"] = "\u007f\u2028 ok"
unknown.targets.targets["board.json"].unrecognized_fields["custom"] = {"board": "x", "n": -5}
unknown.root.version += 1
unknown.put_root(unknown.signers["root"])
unknown.publish()
