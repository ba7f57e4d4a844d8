#!/usr/bin/env python3
"""Checks a bundle of evidence that `spanledger evidence` wrote, without spanledger.

    python3 verify_bundle.py evidence.zip --key NAME+ID+BASE64

A second implementation of what docs/evidence.md describes: Python's standard library and, for
Ed25519, the package `cryptography`. It fetches nothing and asks nobody.

Exit codes: 0 everything is proved; 1 the bundle cannot be read; 3 something is false or unproved;
4 partial: nothing is false, and the bundle has no body of some entries (an entry of the log says that
retention took it out, or the bundle alone does), or says itself that the story has more entries, or
its checkpoint is signed by a key that had handed over to another.

An older key is enough: the bundle has the entries by which the log's keys handed over.

Not checked, and said so: report.html and INSTRUCTIONS.txt, which `spanledger verify` compares.
"""

import argparse
import base64
import datetime
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
ROTATION = "spanledger key rotation/v1"
SYSTEM = "_spanledger"  # whose entries tell what was done to the log
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


def take_apart(note):
    """The text of a signed note and its signatures: name, key id and signature of each."""
    text, separator, lines = note.rpartition("\n\n")
    demand(separator, "it is not signed")
    signatures = []
    for line in lines.splitlines():
        dash, signer, encoded = line.split(" ")
        demand(dash == "\u2014", "a signature line does not begin with a dash")
        signature = base64.b64decode(encoded, validate=True)
        signatures.append((signer, signature[:4], signature[4:]))
    return text + "\n", signatures


def signed_by(note, key):
    """Whether the key signed the note. A false signature in its name is no signature: it is false."""
    name, key_id, public = key
    text, signatures = take_apart(note)
    mine = [it[2] for it in signatures if it[:2] == (name, key_id)]
    for signature in mine:
        try:
            public.verify(signature, text.encode())
        except InvalidSignature:
            raise False_("a signature is false") from None
    return bool(mine)


def read_checkpoint(note):
    """origin, size and root of a checkpoint, whoever signed it."""
    text, _ = take_apart(note)
    origin, size, root = text.split("\n")[:3]
    demand(str(int(size)) == size, "the size is not written as a number is")
    return origin, int(size), base64.b64decode(root, validate=True)


def follow(acts, keys, origin):
    """Adds the keys to which these handed over, in the order of the log; gives what was followed."""
    followed = []
    for sequence, body in acts:
        if body["event"].get("action") != "log_key.rotated":
            continue
        statement = body["message"]
        try:
            signers = [key for key in keys if signed_by(statement, key)]
        except (False_, ValueError):
            continue  # a forged one leads nowhere
        lines = take_apart(statement)[0].split("\n") if signers else []
        if len(lines) < 3 or lines[0] != ROTATION or lines[1] != origin:
            continue
        key = read_key(lines[2])
        if key[0] == origin and all(key[:2] != known[:2] for known in keys):
            keys.append(key)
            followed.append((sequence, signers[0][1].hex(), key[1].hex(), body["@timestamp"]))
    return followed


def told_by(acts, sequence, kept):
    """The entry of the log that says that retention took out the body of that one."""
    class_, received = kept
    for act, body in reversed(acts):
        facts = body.get("attributes", {})
        if body["audit"].get("kind") != "prune" or facts["spanledger.prune.class"] != class_:
            continue
        first, end = facts["spanledger.prune.first"], facts["spanledger.prune.end"]
        whole, _, rest = facts["spanledger.prune.before"].rstrip("Z").partition(".")
        since = datetime.datetime.fromisoformat(whole + "+00:00")
        before = int(since.timestamp()) * 10**9 + int(rest.ljust(9, "0"))
        if first <= sequence < end <= act and received < before:
            return act
    return None


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
    """One entry against the tree; gives pseudonym, number among the tenant's, class and time."""
    demand(proof["sequence"] == sequence, "the proof is of another entry")
    record = base64.b64decode(proof["leaf_record"], validate=True)
    demand(len(record) >= RECORD.size, "the leaf record is too short")
    fields = RECORD.unpack_from(record)
    version, entry_id, pseudonym, number, received, _, class_, flags, body_hash, count = fields
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
    return pseudonym, number, (class_, received)


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


def check_order(seen):
    """Entries of one tenant: each once, and in the order of that tenant."""
    seen = sorted(seen)
    for (before, tenant, number, _), (after, other, later, _) in zip(seen, seen[1:]):
        demand(before < after and number < later, f"entry {after} stands in the wrong place")
        demand(tenant == other, f"entry {after} is another tenant's")


def check(file, keys):
    """Everything that a signature can show."""
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
    note = files["checkpoint"].decode()
    origin, size, root = read_checkpoint(note)
    demand(origin == manifest["origin"], "the checkpoint is another log's")
    expected = set(FIXED)

    def look(sequence):
        name = f"{sequence:020}.json"
        demand(f"proofs/{name}" in files, f"proofs/{name} is not there")
        proof = json.loads(files[f"proofs/{name}"])
        body = files.get(f"entries/{name}")
        try:
            place = check_entry(sequence, proof, body, size, root)
        except False_ as error:
            raise False_(f"entry {sequence}: {error}") from None
        expected.update({f"proofs/{name}"} | (set() if proof["pruned"] else {f"entries/{name}"}))
        return (sequence, *place), body

    story = [look(sequence) for sequence in manifest["entries"]]
    own = [look(sequence) for sequence in manifest.get("acts", [])]
    for name in sorted(set(files) ^ expected):
        raise False_(f"{name} " + ("belongs to no entry" if name in files else "is not there"))
    for seen in (story, own):
        check_order([place for place, _ in seen])
    if story and own and manifest["tenant"] != SYSTEM:
        demand(own[0][0][1] != story[0][0][1], "a tenant cannot speak for the log")
    acts = []
    for place, body in sorted(own):
        act = json.loads(body) if body else {}
        ours = act.get("event", {}).get("dataset") == "spanledger"
        explains = act.get("audit", {}).get("kind") == "prune"
        explains |= act.get("event", {}).get("action") == "log_key.rotated"
        demand(ours and explains, f"entry {place[0]} explains no other")
        acts.append((place[0], act))
    by_given = any([signed_by(note, key) and key[0] == origin for key in keys])
    reached = list(keys)
    handovers = follow(acts, reached, origin)
    by_next = any([signed_by(note, key) for key in reached[len(keys) :]])
    demand(by_given or by_next, "neither a given key nor one that it handed over to signed it")
    retired = bool(handovers) and not signed_by(note, reached[-1])
    gone = {place[0]: told_by(acts, place[0], place[3]) for place, body in story if body is None}
    return manifest, size, root, gone, [] if by_given else handovers, retired


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bundle", help="the file")
    help_ = "NAME+ID+BASE64, as the operator published it; again for each key that you know"
    parser.add_argument("--key", required=True, action="append", help=help_)
    arguments = parser.parse_args()
    try:
        found = check(arguments.bundle, [read_key(key) for key in arguments.key])
    except False_ as error:
        print(f"compromised: {error}")
        return 3
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        print(f"cannot be read: {error!r}", file=sys.stderr)
        return 1
    manifest, size, root, gone, handovers, retired = found
    partial = gone or manifest["elsewhere"] or manifest["truncated"] or retired
    entries = len(manifest["entries"])
    print(f"{'partial' if partial else 'ok'}: {entries} entries of {manifest['asked']!r}")
    print(f"  in the tree of {size} entries with the root {root.hex()}")
    print(f"  the bundle says: tenant {manifest['tenant']!r}, asked {manifest['asked']!r}")
    for sequence, old, new, at in handovers:
        print(f"  the log's key changed: entry {sequence}: {old} handed over to {new}, {at}")
    if retired:
        print("  the checkpoint is signed by a key that had handed over to another")
    told = [sequence for sequence, act in gone.items() if act is not None]
    for act in sorted({gone[sequence] for sequence in told}):
        these = [sequence for sequence in told if gone[sequence] == act]
        print(f"  retention took out the bodies of {len(these)} of them, as entry {act} says: {these}")
    if len(gone) > len(told):
        alone = len(gone) - len(told)
        print(f"  the bundle has no body of {alone} of them; it says that they were pruned")
    if manifest["elsewhere"] or manifest["truncated"]:
        print("  the story has entries that are not in the bundle")
    print("  not checked: report.html and INSTRUCTIONS.txt; spanledger verify --bundle compares them")
    return PARTIAL if partial else 0


if __name__ == "__main__":
    sys.exit(main())
