//! Decompression with a size, a ratio and a memory budget that are checked as bytes come out.
//!
//! A body is decompressed only when all of it has arrived: a slow sender then holds nothing but
//! its own bytes, no window of a decompressor.

use super::budget::{Budget, Buffer, OverBudget, Permit};
use super::limits::Limits;
use bytes::Bytes;
use std::io::{Cursor, Read};

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

/// What clients may send, as `Accept-Encoding` and `grpc-accept-encoding` say it.
pub(super) const ACCEPTED: &str = "identity,gzip,zstd,deflate";

impl Encoding {
    /// The encoding of a header's value; none and empty mean identity.
    pub(super) fn from_header(value: &[u8]) -> Option<Self> {
        let is = |name: &str| value.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        if is("") || is("identity") {
            Some(Self::Identity)
        } else if is("gzip") || is("x-gzip") {
            Some(Self::Gzip)
        } else if is("deflate") {
            Some(Self::Deflate)
        } else if is("zstd") {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

/// Why a body could not be decompressed.
#[derive(Debug, thiserror::Error)]
pub(super) enum InflateError {
    #[error("the body decompresses to more than {limit} bytes: send smaller requests")]
    TooLarge { limit: usize },
    #[error(
        "the body of {compressed} bytes decompresses to more than {limit}: \
         send it with less or without compression"
    )]
    Ratio { compressed: usize, limit: usize },
    #[error("the body is not what its encoding says: {0}")]
    Corrupt(#[from] std::io::Error),
    #[error(transparent)]
    Memory(#[from] OverBudget),
}

/// Log2 of zstd's window, whose size the sender chooses. 8 MiB is what RFC 9659 allows senders on
/// HTTP; a frame that asks for more is refused.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Memory of a decompressor beside its output.
const ZSTD_BYTES: usize = (1 << ZSTD_WINDOW_LOG) + 256 * 1024;
const FLATE_BYTES: usize = 64 * 1024;
/// Output is made, charged and checked in steps of this size.
const STEP_BYTES: usize = 32 * 1024;

/// A body on its way from compressed to plain.
pub(super) struct Inflate {
    reader: Box<dyn Read + Send>,
    out: Buffer,
    compressed: usize,
    limit: usize,
    ratio_limit: usize,
    /// What the decompressor itself holds.
    _working: Permit,
}

impl Inflate {
    /// Prepares to decompress `body`.
    pub(super) fn new(
        body: Bytes,
        encoding: Encoding,
        limits: &Limits,
        budget: &Budget,
    ) -> Result<Self, InflateError> {
        let compressed = body.len();
        let mut working = budget.permit();
        working.grow(if encoding == Encoding::Zstd { ZSTD_BYTES } else { FLATE_BYTES })?;
        let input = Cursor::new(body);
        let reader: Box<dyn Read + Send> = match encoding {
            Encoding::Identity => Box::new(input),
            Encoding::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
            Encoding::Deflate => Box::new(flate2::bufread::ZlibDecoder::new(input)),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        };
        Ok(Self {
            reader,
            out: Buffer::new(budget, limits.max_request_bytes.saturating_add(STEP_BYTES)),
            compressed,
            limit: limits.max_request_bytes,
            ratio_limit: compressed
                .saturating_mul(limits.max_inflate_ratio)
                .max(limits.inflate_free_bytes),
            _working: working,
        })
    }

    /// Decompresses until the end (`true`) or until there are more than `pause_after` bytes
    /// (`false`). What comes out is charged before there is room for it.
    pub(super) fn run(&mut self, pause_after: usize) -> Result<bool, InflateError> {
        while self.out.len() <= pause_after {
            let room = self.out.reserve(STEP_BYTES)?;
            let read = (&mut self.reader).take(STEP_BYTES as u64).read_to_end(room)?;
            if read == 0 {
                return Ok(true);
            }
            if self.out.len() > self.limit {
                return Err(InflateError::TooLarge { limit: self.limit });
            }
            if self.out.len() > self.ratio_limit {
                let (compressed, limit) = (self.compressed, self.ratio_limit);
                return Err(InflateError::Ratio { compressed, limit });
            }
        }
        Ok(false)
    }

    /// What came out.
    pub(super) fn finish(self) -> Buffer {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const BUDGET: usize = 64 * 1024 * 1024;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(
        body: Vec<u8>,
        encoding: Encoding,
        limits: &Limits,
    ) -> Result<Vec<u8>, InflateError> {
        let budget = Budget::new(BUDGET, BUDGET);
        let mut inflate = Inflate::new(body.into(), encoding, limits, &budget)?;
        assert!(inflate.run(usize::MAX)?);
        Ok(inflate.finish().as_slice().to_vec())
    }

    #[test]
    fn each_encoding_gives_back_what_was_compressed() {
        let plain = b"the quick brown fox ".repeat(10_000);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&plain).unwrap();
        let two_members = [gzip(&plain[..7]), gzip(&plain[7..])].concat();
        for (encoding, body) in [
            (Encoding::Identity, plain.clone()),
            (Encoding::Gzip, gzip(&plain)),
            (Encoding::Gzip, two_members),
            (Encoding::Deflate, zlib.finish().unwrap()),
            (Encoding::Zstd, zstd::encode_all(&plain[..], 19).unwrap()),
        ] {
            assert!(inflate(body, encoding, &Limits::default()).unwrap() == plain, "{encoding:?}");
        }
    }

    #[test]
    fn a_bomb_is_stopped_where_the_limit_is_and_not_where_it_ends() {
        let bomb = zstd::encode_all(&vec![0; 32 * 1024 * 1024][..], 3).unwrap();
        let limits = Limits { max_request_bytes: 100_000, ..Limits::default() };
        let budget = Budget::new(BUDGET, BUDGET);
        let mut inflate = Inflate::new(bomb.into(), Encoding::Zstd, &limits, &budget).unwrap();
        assert!(matches!(inflate.run(usize::MAX), Err(InflateError::TooLarge { .. })));
        assert!(inflate.out.len() <= 100_000 + STEP_BYTES);
    }

    #[test]
    fn the_ratio_counts_only_beyond_what_is_free() {
        let body = gzip(&vec![b'a'; 300_000]);
        let limits = Limits { inflate_free_bytes: 200_000, ..Limits::default() };
        let refused = inflate(body.clone(), Encoding::Gzip, &limits);
        assert!(matches!(refused, Err(InflateError::Ratio { .. })));
        let limits = Limits { inflate_free_bytes: 300_000, ..limits };
        assert!(inflate(body, Encoding::Gzip, &limits).is_ok());
    }

    #[test]
    fn a_body_cut_short_or_followed_by_something_else_is_corrupt() {
        let body = gzip(b"evidence");
        for bad in [&body[..body.len() - 1], b"", b"not gzip", &[&body[..], b"more"].concat()] {
            let result = inflate(bad.to_vec(), Encoding::Gzip, &Limits::default());
            assert!(matches!(result, Err(InflateError::Corrupt(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_zstd_frame_with_a_larger_window_than_http_allows_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(25).unwrap();
        encoder.write_all(&[7; 100]).unwrap();
        let body = encoder.finish().unwrap();
        let result = inflate(body, Encoding::Zstd, &Limits::default());
        assert!(matches!(result, Err(InflateError::Corrupt(_))));
    }
}
