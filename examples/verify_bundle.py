#!/usr/bin/env python3
"""Checks a bundle of evidence that `spanledger evidence` wrote, without spanledger.

    python3 verify_bundle.py evidence.zip --key NAME+ID+BASE64

A second implementation of what docs/evidence.md describes: Python's standard library and, for
Ed25519, the package `cryptography`. It fetches nothing and asks nobody.

Exit codes: 0 everything is proved; 1 the bundle cannot be read; 3 something is false or unproved;
4 partial: nothing is false, and the bundle has no body of some entries (it says that they were
pruned; nothing but the ledger can show that), or says itself that the story has more entries.

Not checked, and said so: report.html and INSTRUCTIONS.txt, which `spanledger verify` compares.
"""

import argparse
import base64
import hashlib
import hmac
import json
import struct
import sys
import zipfile

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "spanledger-evidence/1"
FIXED = {"manifest.json", "INSTRUCTIONS.txt", "report.html", "checkpoint", "keys"}
PARTIAL = 4  # exit code
RECORD = struct.Struct("<B16s16sQQ8sBB32sB")  # docs/evidence.md draws it
ED25519 = 1  # algorithm byte of a key, c2sp.org/signed-note


class False_(Exception):
    """Something in the bundle is not as it was recorded."""


def demand(holds, why):
    if not holds:
        raise False_(why)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def read_key(text):
    """name, id and public key of a verifier key, c2sp.org/signed-note."""
    name, key_id, encoded = text.strip().split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    demand(len(key) == 33 and key[0] == ED25519, "the key is no Ed25519 key")
    expected = sha256(name.encode(), b"\n", key)[:4]
    demand(expected.hex() == key_id, "the key's id is not that of the key")
    return name, expected, Ed25519PublicKey.from_public_bytes(key[1:])


def read_checkpoint(note, key):
    """origin, size and root of a checkpoint that the key has signed."""
    name, key_id, public = key
    text, separator, signatures = note.partition("\n\n")
    demand(separator, "the checkpoint is not signed")
    signed = (text + "\n").encode()
    by_the_key = []
    for line in signatures.splitlines():
        dash, signer, encoded = line.split(" ")
        demand(dash == "\u2014", "a signature line does not begin with a dash")
        signature = base64.b64decode(encoded, validate=True)
        if signer == name and signature[:4] == key_id:
            by_the_key.append(signature[4:])
    demand(by_the_key, "the key did not sign the checkpoint")
    for signature in by_the_key:
        try:
            public.verify(signature, signed)
        except InvalidSignature:
            raise False_("the signature of the checkpoint is false") from None
    origin, size, root = text.split("\n")[:3]
    demand(origin == name, "the checkpoint is another log's")
    demand(str(int(size)) == size, "the size is not written as a number is")
    return origin, int(size), base64.b64decode(root, validate=True)


def root_of(index, size, leaf, path):
    """The root that a path leads to: RFC 9162, section 2.1.3.2."""
    demand(index < size, "the entry is beyond the tree")
    node, last, hash_ = index, size - 1, leaf
    for sibling in path:
        demand(last > 0, "the path is too long")
        if node & 1 or node == last:
            hash_ = sha256(b"\x01", sibling, hash_)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            hash_ = sha256(b"\x01", hash_, sibling)
        node, last = node >> 1, last >> 1
    demand(last == 0, "the path is too short")
    return hash_


def check_entry(sequence, proof, body, size, root):
    """One entry against the tree; gives pseudonym and number among the tenant's entries."""
    demand(proof["sequence"] == sequence, "the proof is of another entry")
    record = base64.b64decode(proof["leaf_record"], validate=True)
    demand(len(record) >= RECORD.size, "the leaf record is too short")
    fields = RECORD.unpack_from(record)
    version, entry_id, pseudonym, number, _, _, _, flags, body_hash, count = fields
    demand(version == 1 and flags <= 1, "the leaf record is of another version")
    demand(len(record) == RECORD.size + 33 * count, "the leaf record has another length")
    demand(entry_id.hex() == proof["id"], "the id is not that of the leaf record")
    leaf = sha256(b"\x00", record)
    demand(leaf.hex() == proof["leaf_hash"], "the leaf hash is not that of the leaf record")
    if proof["pruned"]:
        demand(proof["pruned"] is True, "pruned is neither true nor false")
        demand(body is None, "there is a body of a pruned entry")
    else:
        demand(body is not None, "the body is not there")
        demand(sha256(body) == body_hash, "the body is not the one that was recorded")
        check_commitments(record, proof["salts"], json.loads(body))
    demand(proof["inclusion"] is not None, "no checkpoint covered the entry yet")
    path = [bytes.fromhex(hash_) for hash_ in proof["inclusion"]]
    demand(root_of(sequence, size, leaf, path) == root, "the entry is not in the signed tree")
    return pseudonym, number


def check_commitments(record, salts, body):
    """Each salt that is shown opens its commitment with a keyed hash of the body."""
    commitments = [record[at : at + 33] for at in range(RECORD.size, len(record), 33)]
    demand(len(commitments) == len(salts), "there is not one salt for each commitment")
    payloads = body.get("audit", {}).get("payload", [])
    hashes = [bytes.fromhex(it["hash"]) for it in payloads if it.get("hash")]
    for commitment, salt in zip(commitments, map(bytes.fromhex, salts)):
        kind, value = commitment[0], commitment[1:]
        if not any(salt) or kind == 0:  # sealed or pruned; one that stands for several payloads
            continue
        opens = any(hmac.digest(salt, hash_, "sha256") == value for hash_ in hashes)
        demand(opens, "a salt does not open its commitment")


def check(file, key):
    """Everything that a signature can show. Gives manifest, size, root and entries without body."""
    with zipfile.ZipFile(file) as bundle:
        names = bundle.namelist()
        demand(len(set(names)) == len(names), "a file is there twice")
        files = {name: bundle.read(name) for name in names}
    demand("manifest.json" in files, "there is no manifest")
    manifest = json.loads(files["manifest.json"])
    demand(manifest["format"] == FORMAT, "the format is of another version")
    listed = set(manifest["files"]) | {"manifest.json"}
    demand(set(files) == listed, "the files are not those of the manifest")
    for name, stated in manifest["files"].items():
        demand(sha256(files[name]).hex() == stated, f"{name} is not the file of the manifest")
    demand("checkpoint" in files, "nothing is signed")
    demand(manifest["entries"] or manifest["elsewhere"], "the bundle has no entry")
    origin, size, root = read_checkpoint(files["checkpoint"].decode(), key)
    demand(origin == manifest["origin"], "the checkpoint is another log's")
    seen, bodiless, expected = [], 0, set(FIXED)
    for sequence in manifest["entries"]:
        name = f"{sequence:020}.json"
        demand(f"proofs/{name}" in files, f"proofs/{name} is not there")
        proof = json.loads(files[f"proofs/{name}"])
        try:
            place = check_entry(sequence, proof, files.get(f"entries/{name}"), size, root)
        except False_ as error:
            raise False_(f"entry {sequence}: {error}") from None
        seen.append((sequence, *place))
        bodiless += proof["pruned"]
        expected |= {f"proofs/{name}"} | (set() if proof["pruned"] else {f"entries/{name}"})
    for name in sorted(set(files) ^ expected):
        raise False_(f"{name} " + ("belongs to no entry" if name in files else "is not there"))
    seen.sort()
    for (before, tenant, number), (after, other, later) in zip(seen, seen[1:]):
        demand(before < after and number < later, f"entry {after} stands in the wrong place")
        demand(tenant == other, f"entry {after} is another tenant's")
    return manifest, size, root, bodiless


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundle", help="the file")
    parser.add_argument("--key", required=True, help="NAME+ID+BASE64, as the operator published it")
    arguments = parser.parse_args()
    try:
        manifest, size, root, bodiless = check(arguments.bundle, read_key(arguments.key))
    except False_ as error:
        print(f"compromised: {error}")
        return 3
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        print(f"cannot be read: {error!r}", file=sys.stderr)
        return 1
    partial = bodiless or manifest["elsewhere"] or manifest["truncated"]
    entries = len(manifest["entries"])
    print(f"{'partial' if partial else 'ok'}: {entries} entries of {manifest['asked']!r}")
    print(f"  in the tree of {size} entries with the root {root.hex()}")
    print(f"  the bundle says: tenant {manifest['tenant']!r}, asked {manifest['asked']!r}")
    if bodiless:
        print(f"  the bundle has no body of {bodiless} of them; it says that they were pruned")
    if manifest["elsewhere"] or manifest["truncated"]:
        print("  the story has entries that are not in the bundle")
    print("  not checked: report.html and INSTRUCTIONS.txt; spanledger verify --bundle compares them")
    return PARTIAL if partial else 0


if __name__ == "__main__":
    sys.exit(main())
