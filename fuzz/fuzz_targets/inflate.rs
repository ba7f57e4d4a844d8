//! Decompression: no bound is passed, all memory is given back, and what was compressed here comes
//! out as it went in.
//!
//! The first byte names the encoding; what follows is a compressed body, and once more something
//! to be compressed.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use spanledger::fuzzing::{Inflated, inflate};
use spanledger::receiver::{Budget, Limits};
use std::io::Write;

const ENCODINGS: [&[u8]; 4] = [b"gzip", b"zstd", b"deflate", b"identity"];
/// Output is made in steps of this size, so that much may be charged beyond a limit.
const STEP_BYTES: usize = 32 * 1024;
/// What the decompressor of zstd is charged with.
const DECOMPRESSOR_BYTES: usize = 9 * 1024 * 1024;

fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else { return };
    let encoding = ENCODINGS[usize::from(*first) % ENCODINGS.len()];
    let limits = Limits {
        max_request_bytes: 128 * 1024,
        max_inflate_ratio: 20,
        inflate_free_bytes: 16 * 1024,
        ..Limits::default()
    };
    let most = limits.max_request_bytes + STEP_BYTES + DECOMPRESSOR_BYTES;
    let budget = Budget::new(most, most);
    let run = |body: &[u8], limits: &Limits| {
        let inflated = inflate(Bytes::copy_from_slice(body), encoding, limits, &budget);
        assert_eq!(budget.used(), 0, "memory is given back");
        inflated.expect("the encoding is known")
    };
    if let Inflated::Whole(plain) = run(body, &limits) {
        let ratio = body.len().saturating_mul(limits.max_inflate_ratio);
        assert!(plain.len() <= limits.max_request_bytes);
        assert!(plain.len() <= ratio.max(limits.inflate_free_bytes));
    }
    let generous = Limits { inflate_free_bytes: limits.max_request_bytes, ..limits };
    match run(&compressed(encoding, body), &generous) {
        Inflated::Whole(plain) => assert!(plain == body),
        Inflated::Bounded => assert!(body.len() > generous.max_request_bytes),
        Inflated::Corrupt => panic!("what was compressed here is refused"),
    }
});

fn compressed(encoding: &[u8], plain: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let done = match encoding {
        b"gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        b"deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        b"zstd" => zstd::encode_all(plain, 1),
        _ => Ok(plain.to_vec()),
    };
    done.expect("memory does not fail")
}
