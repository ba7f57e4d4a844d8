//! The lines of a file, unpacked, with how much of it was read.

use flate2::bufread::MultiGzDecoder;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest line that is sent, bytes: the server's default limit of a request.
const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// The lines of a file.
pub(super) struct Lines {
    reader: Box<dyn BufRead + Send>,
    read: Arc<AtomicU64>,
    /// Size of the file, bytes.
    pub(super) size: u64,
    /// Number of the line that was read last, counted from 1.
    number: u64,
}

/// One line.
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: u64,
    pub(super) text: Vec<u8>,
    /// Whether it is longer than is sent; then the text is its beginning.
    pub(super) too_long: bool,
}

impl Lines {
    /// Opens a file; one that is compressed with gzip or zstd is known by its first bytes.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let read = Arc::new(AtomicU64::new(0));
        let mut file = BufReader::new(Counted { file, read: Arc::clone(&read) });
        let reader: Box<dyn BufRead + Send> = match file.fill_buf()? {
            [0x1f, 0x8b, ..] => Box::new(BufReader::new(MultiGzDecoder::new(file))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => {
                Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(file)?))
            }
            _ => Box::new(file),
        };
        Ok(Self { reader, read, size, number: 0 })
    }

    /// Bytes of the file that were read.
    pub(super) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Number of the line that comes next, counted from 1.
    pub(super) fn next_number(&self) -> u64 {
        self.number.saturating_add(1)
    }

    /// The next line that is not empty.
    pub(super) fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let mut text = Vec::new();
            let limit = u64::try_from(MAX_LINE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
            if (&mut self.reader).take(limit).read_until(b'\n', &mut text)? == 0 {
                return Ok(None);
            }
            self.number = self.number.saturating_add(1);
            let too_long = text.len() > MAX_LINE_BYTES && text.last() != Some(&b'\n');
            if too_long {
                text.truncate(0);
                self.reader.skip_until(b'\n')?;
            }
            // Some programs begin a file with a byte order mark.
            let bare = text.trim_ascii();
            let bare = bare.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bare);
            if too_long || !bare.is_empty() {
                return Ok(Some(Line { number: self.number, text: bare.to_vec(), too_long }));
            }
        }
    }
}

struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn lines(bytes: &[u8]) -> Vec<(u64, String)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut lines = Lines::open(file.path()).unwrap();
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push((line.number, String::from_utf8(line.text).unwrap()));
        }
        assert_eq!(lines.read(), lines.size);
        found
    }

    #[test]
    fn lines_keep_their_numbers_and_empty_ones_are_passed_over() {
        let expected = vec![(1, "{}".to_owned()), (3, "[]".to_owned())];
        assert_eq!(lines(b"\xef\xbb\xbf{}\r\n\n[]"), expected);
    }

    #[test]
    fn packed_files_are_known_by_their_first_bytes() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"a\nb\n").unwrap();
        let expected = vec![(1, "a".to_owned()), (2, "b".to_owned())];
        assert_eq!(lines(&gzip.finish().unwrap()), expected);
        assert_eq!(lines(&zstd::encode_all(&b"a\nb\n"[..], 1).unwrap()), expected);
    }
}
