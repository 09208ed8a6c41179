//! Takes the compression off a stream, known by its first bytes.

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use std::io::{self, BufRead, BufReader, Read};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }

    fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What the stream holds, without its compression.
pub enum Plain<R: Read> {
    None(BufReader<R>),
    Gzip(Box<MultiGzDecoder<BufReader<R>>>),
    Zstd(Zstd<BufReader<R>>),
}

impl<R: Read> Plain<R> {
    /// Looks at the first bytes of `source`.
    pub fn new(source: R) -> io::Result<(Compression, Self)> {
        let mut source = BufReader::with_capacity(256 << 10, source);
        let compression = Compression::of(source.fill_buf()?);
        let plain = match compression {
            Compression::None => Self::None(source),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(source))),
            Compression::Zstd => Self::Zstd(Zstd(Some(Frame::Ended(source)))),
        };
        Ok((compression, plain))
    }

    /// The compressed stream. What was not read yet is still in it.
    pub fn into_source(self) -> Option<BufReader<R>> {
        match self {
            Self::None(source) => Some(source),
            Self::Gzip(decoder) => Some(decoder.into_inner()),
            Self::Zstd(decoder) => decoder.0.map(|frame| match frame {
                Frame::Ended(source) => source,
                Frame::Running(decoder) => decoder.into_inner(),
            }),
        }
    }
}

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::None(source) => source.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// A zstd stream of any number of frames; parallel compressors write many. `None` after an error.
pub struct Zstd<R: BufRead>(Option<Frame<R>>);

enum Frame<R: BufRead> {
    Ended(R),
    Running(Box<StreamingDecoder<R, FrameDecoder>>),
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.take() {
                None => return Err(io::Error::other("the zstd stream is broken")),
                Some(Frame::Ended(mut source)) => {
                    if source.fill_buf()?.is_empty() {
                        self.0 = Some(Frame::Ended(source));
                        return Ok(0);
                    }
                    let decoder = StreamingDecoder::new(source).map_err(io::Error::other)?;
                    self.0 = Some(Frame::Running(Box::new(decoder)));
                }
                Some(Frame::Running(mut decoder)) => {
                    let count = decoder.read(buffer)?;
                    if count > 0 || buffer.is_empty() {
                        self.0 = Some(Frame::Running(decoder));
                        return Ok(count);
                    }
                    self.0 = Some(Frame::Ended(decoder.into_inner()));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use std::io::Write;

    fn unpack(bytes: &[u8]) -> (Compression, Vec<u8>) {
        let (compression, mut plain) = Plain::new(bytes).unwrap();
        let mut out = Vec::new();
        plain.read_to_end(&mut out).unwrap();
        let mut rest = Vec::new();
        plain.into_source().unwrap().read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty());
        (compression, out)
    }

    #[test]
    fn gzip_zstd_of_several_frames_and_plain_streams() {
        let text = b"corten ".repeat(100_000);
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&text).unwrap();
        assert_eq!(
            unpack(&encoder.finish().unwrap()),
            (Compression::Gzip, text.clone())
        );

        let (first, second) = text.split_at(300_001);
        let frames = [
            compress_to_vec(first, CompressionLevel::Fastest),
            compress_to_vec(second, CompressionLevel::Fastest),
        ]
        .concat();
        assert_eq!(unpack(&frames), (Compression::Zstd, text.clone()));
        assert_eq!(unpack(&text), (Compression::None, text));
        assert_eq!(unpack(b""), (Compression::None, Vec::new()));
    }

    #[test]
    fn a_stream_that_is_cut_off_is_an_error_and_not_a_short_image() {
        let text = b"0123456789".repeat(100_000);
        let mut frame = compress_to_vec(&text[..], CompressionLevel::Fastest);
        frame.truncate(frame.len() / 2);
        let (_, mut plain) = Plain::new(&frame[..]).unwrap();
        assert!(plain.read_to_end(&mut Vec::new()).is_err());
    }
}
