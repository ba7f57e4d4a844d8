//! Requests of real SDKs: `tests/payloads/<family>/<run>/NNN.<signal>.<transport>.bin`, as sent.

use super::calls::{Call, decoded};
use super::oracle::expected;
use spanledger::receiver::otlp::{Format, Signal, measure};
use std::io::Read;
use std::path::{Path, PathBuf};

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "bin") {
            found.push(path);
        }
    }
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes.to_vec();
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

/// The OTLP requests in a folder: name, signal, format and decompressed message.
pub(crate) fn requests(dir: &Path) -> Vec<(String, Signal, Format, Vec<u8>)> {
    let mut paths = Vec::new();
    files(dir, &mut paths);
    paths.sort();
    let mut requests = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let signal = match () {
            () if name.contains(".traces.") => Signal::Traces,
            () if name.contains(".logs.") => Signal::Logs,
            () => continue,
        };
        let bytes = std::fs::read(&path).unwrap();
        let (format, message) = match () {
            () if name.contains(".grpc.") => (Format::Protobuf, gunzip(&bytes[5..])),
            () if name.contains(".http-json.") => (Format::Json, gunzip(&bytes)),
            () => (Format::Protobuf, gunzip(&bytes)),
        };
        requests.push((name, signal, format, message));
    }
    requests
}

#[test]
fn what_real_sdks_send_decodes_as_prost_decodes_it() {
    let requests = requests(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads"));
    assert!(requests.len() >= 20, "{}", requests.len());
    for (name, signal, format, message) in requests {
        let calls =
            decoded(signal, format, &message).unwrap_or_else(|error| panic!("{name}: {error}"));
        let records = calls.iter().filter(|call| matches!(call, Call::Record(_))).count();
        assert!(records > 0, "{name}");
        assert!(!calls.iter().any(|call| matches!(call, Call::Refuse(_))), "{name}");
        assert_eq!(measure(signal, format, &message).records, records, "{name}");
        if format == Format::Protobuf {
            assert_eq!(Ok(calls), expected(signal, &message), "{name}");
        }
    }
}
