#!/usr/bin/env python3
"""Checks a bundle of evidence that `spanledger evidence` wrote, without spanledger.

    python3 verify_bundle.py evidence.zip --key NAME+ID+BASE64

A second implementation of what docs/evidence.md describes: Python's standard library and, for
Ed25519, the package `cryptography`. It fetches nothing and asks nobody.

Exit codes: 0 everything is proved; 1 the bundle cannot be read; 3 something is false or unproved;
4 partial: nothing is false, and the bundle has no body of some entries (an entry of the log says that
retention took such bodies out, or the bundle alone does) or not all originals, or says itself that the
story has more entries, or its checkpoint is signed by a key that had handed over to another or does
not cover all entries yet.

An older key is enough: the bundle has the entries by which the log's keys handed over.

Not checked, and said so: report.html, INSTRUCTIONS.txt, the verdict that the bundle tells of itself, and
whether an entry carries the id that was asked for. `spanledger verify` compares them.
"""

import argparse
import base64
import datetime
import hashlib
import hmac
import json
import os
import struct
import sys
import zipfile

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "spanledger-evidence/1"
FIXED = {"manifest.json", "INSTRUCTIONS.txt", "report.html", "checkpoint", "keys"}
PARTIAL = 4  # exit code
MAX_ENTRIES, MAX_ACTS, MAX_BYTES = 10_000, 1_000, 256 * 1024 * 1024  # of one bundle
MEMBERS = {
    "format", "made_at", "made_by", "asked", "tenant", "origin", "checkpoint", "trace_ids", "entries",
    "acts", "elsewhere", "truncated", "mapping_versions", "verdict", "findings", "files", "payloads",
}  # fmt: skip
RECORD = struct.Struct("<B16s16sQQ8sBB32sB")  # docs/evidence.md draws it
ROTATION = "spanledger key rotation/v1"
ORIGINALS = 254  # kind of the commitment to exact texts, docs/log.md
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
            # The key of another log hands over nothing of this one.
            signers = [key for key in keys if key[0] == origin and signed_by(statement, key)]
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
    """The entries of the log that say that retention took out bodies such as that one, and how many."""
    class_, received = kept
    told = []
    for act, body in acts:
        facts = body.get("attributes", {})
        if body["audit"].get("kind") != "prune" or facts["spanledger.prune.class"] != class_:
            continue
        first, end = facts["spanledger.prune.first"], facts["spanledger.prune.end"]
        whole, _, rest = facts["spanledger.prune.before"].rstrip("Z").partition(".")
        since = datetime.datetime.fromisoformat(whole + "+00:00")
        before = int(since.timestamp()) * 10**9 + int(rest.ljust(9, "0"))
        if first <= sequence < end <= act and received < before:
            told.append((act, facts["spanledger.prune.entries"]))
    return told


def check_gone(gone, acts):
    """No more bodies are gone than those entries took out; gives the last that tells of each."""
    last = {sequence: told[-1][0] if told else None for sequence, told in gone.items()}
    for act in set(last.values()) - {None}:
        these = [sequence for sequence in gone if last[sequence] == act]
        most = sum(dict(it for sequence in these for it in gone[sequence]).values())
        why = f"{len(these)} bodies are gone, and what tells of them took out {most} at most"
        demand(len(these) <= most or len(acts) >= MAX_ACTS, why)
    return last


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
    if proof["inclusion"] is None:
        demand(sequence >= size, "the inclusion proof is not there")
        return pseudonym, number, (class_, received), version_of(record)
    path = [bytes.fromhex(hash_) for hash_ in proof["inclusion"]]
    demand(root_of(sequence, size, leaf, path) == root, "the entry is not in the signed tree")
    return pseudonym, number, (class_, received), version_of(record)


def version_of(record):
    """The version of the mappings that made the body."""
    return RECORD.unpack_from(record)[5].hex()


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


def check_originals(record, file):
    """Exact texts against the list that the leaf commits to; gives why they are not there, if so."""
    commitments = [record[at : at + 33] for at in range(RECORD.size, len(record), 33)]
    stated = [it[1:] for it in commitments if it[0] == ORIGINALS]
    if file is None:
        return "not in the bundle" if stated else None
    if file.get("withheld") is not None:
        demand(not file["payloads"], "originals are withheld, and there")
        return file["withheld"]
    listed = hashlib.sha256(b"spanledger originals/v1\n")
    for it in file["payloads"]:
        mark = hmac.digest(bytes.fromhex(it["salt"]), it["text"].encode(), "sha256")
        demand(mark.hex() == it["commitment"], f"{it['place']} is not the text of its commitment")
        place = it["place"].encode()
        listed.update(struct.pack("<BI", it["kind"], len(place)) + place + mark)
    demand(stated == [listed.digest()], "the leaf commits to other originals")
    return None


def check_order(seen):
    """Entries of one tenant: each once, and in the order of that tenant."""
    seen = sorted(seen)
    for (before, tenant, number, *_), (after, other, later, *_) in zip(seen, seen[1:]):
        demand(before < after and number < later, f"entry {after} stands in the wrong place")
        demand(tenant == other, f"entry {after} is another tenant's")


def read_files(file):
    """The files of the bundle: stored one behind the other from its first byte, and nothing between."""
    demand(os.path.getsize(file) <= MAX_BYTES, f"a bundle has at most {MAX_BYTES} bytes")
    with zipfile.ZipFile(file) as bundle:
        members = bundle.infolist()
        at = 0
        for it in members:
            plain = it.compress_type == zipfile.ZIP_STORED and it.compress_size == it.file_size
            plain = plain and not (it.extra or it.comment or it.flag_bits)
            bundle.fp.seek(at)
            header = bundle.fp.read(30)
            head = (b"PK\x03\x04", len(it.filename), 0)
            same = len(header) == 30 and (header[:4], *struct.unpack("<HH", header[26:])) == head
            demand(plain and same and it.header_offset == at, f"{it.filename} is not stored as it has to be")
            at += len(header) + len(it.filename) + it.file_size
        demand(bundle.start_dir == at and not bundle.comment, "there are bytes that no file has")
        names = [it.filename for it in members]
        demand(len(set(names)) == len(names), "a file is there twice")
        return {name: bundle.read(name) for name in names}


def check_manifest(manifest, size, root):
    """What it says of itself, as far as the other files show it."""
    demand(set(manifest) <= MEMBERS, "the manifest has a member that it cannot have")
    covered = {"size": size, "root": root.hex()}
    demand(manifest["checkpoint"] == covered, "the manifest names another tree than the checkpoint")
    for all_, most in ((manifest["entries"], MAX_ENTRIES), (manifest.get("acts", []), MAX_ACTS)):
        whole = all(type(it) is int and 0 <= it < 2**64 for it in all_)
        demand(whole, "a sequence is not a number of an entry")
        demand(len(all_) <= most, f"the manifest names {len(all_)} entries, and {most} are the most")
        demand(len(set(all_)) == len(all_), "an entry is there twice")


def check(file, keys):
    """Everything that a signature can show."""
    files = read_files(file)
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
    check_manifest(manifest, size, root)
    expected, records = set(FIXED), {}

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
        records[sequence] = base64.b64decode(proof["leaf_record"]), proof["pruned"]
        return (sequence, *place), body

    story = [look(sequence) for sequence in manifest["entries"]]
    originals = [f"payloads/{sequence:020}.json" for sequence in manifest["entries"]]
    originals = {name: json.loads(files[name]) for name in originals if name in files}
    expected |= set(originals)
    withheld, shown = {}, 0
    for sequence in manifest["entries"] if originals or manifest.get("payloads") else []:
        file = originals.get(f"payloads/{sequence:020}.json")
        demand(file is None or file["sequence"] == sequence, f"entry {sequence}: another's originals")
        try:
            record, is_pruned = records[sequence]
            there = is_pruned and file is not None and file["payloads"]
            demand(not there, "there are originals of a pruned entry")
            why = None if is_pruned and file is None else check_originals(record, file)
        except False_ as error:
            raise False_(f"entry {sequence}: {error}") from None
        shown += file is not None and why is None
        withheld.update({sequence: why} if why else {})
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
    gone = check_gone(gone, acts)
    versions = sorted({place[4] for place, _ in story})
    stated = "the versions of the mappings are not those of the entries"
    demand(manifest["mapping_versions"] == versions, stated)
    handovers = [] if by_given else handovers
    open_ = sum(1 for place, _ in story + own if place[0] >= size)
    return manifest, size, root, gone, handovers, (retired, open_), (shown, withheld)


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
    except (OSError, ArithmeticError, AttributeError, LookupError, NotImplementedError, RecursionError,
            RuntimeError, TypeError, ValueError, struct.error, zipfile.BadZipFile) as error:  # fmt: skip
        print(f"cannot be read: {error!r}", file=sys.stderr)
        return 1
    manifest, size, root, gone, handovers, (retired, open_), (originals, withheld) = found
    partial = gone or manifest["elsewhere"] or manifest["truncated"] or retired or open_ or withheld
    entries = len(manifest["entries"])
    print(f"{'partial' if partial else 'ok'}: {entries} entries of {manifest['asked']!r}")
    print(f"  in the tree of {size} entries with the root {root.hex()}")
    print(f"  the bundle says: tenant {manifest['tenant']!r}, asked {manifest['asked']!r}")
    if originals:
        print(f"  with the originals of {originals} entries, against their leaves")
    for sequence, why in withheld.items():
        print(f"  the originals of entry {sequence} are not there; the bundle says: {why}")
    for sequence, old, new, at in handovers:
        print(f"  the log's key changed: entry {sequence}: {old} handed over to {new}, {at}")
    if retired:
        print("  the checkpoint is signed by a key that had handed over to another")
    if open_:
        print(f"  no checkpoint covered {open_} of them yet")
    told = [sequence for sequence, act in gone.items() if act is not None]
    for act in sorted({gone[sequence] for sequence in told}):
        these = [sequence for sequence in told if gone[sequence] == act]
        print(f"  retention took out such bodies as those of {len(these)} of them, as entry {act} says: {these}")
    if len(gone) > len(told):
        alone = len(gone) - len(told)
        print(f"  the bundle has no body of {alone} of them; it says that they were pruned")
    if manifest["elsewhere"] or manifest["truncated"]:
        print("  the story has entries that are not in the bundle")
    print("  not checked: report.html, INSTRUCTIONS.txt, the verdict that the bundle tells, and that an")
    print("  entry carries the id; spanledger verify --bundle compares them")
    return PARTIAL if partial else 0


if __name__ == "__main__":
    sys.exit(main())
