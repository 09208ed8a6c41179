//! The part of an image that a `Range` header asks for (RFC 9110, section 14).

/// Bytes from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub first: u64,
    pub last: u64,
}

impl Part {
    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// The one part of `size` bytes that the header names; an error if it names none that is there, or several.
pub fn parse(header: &str, size: u64) -> Result<Part, ()> {
    let spec = header.trim().strip_prefix("bytes=").ok_or(())?;
    let (first, last) = spec.split_once('-').ok_or(())?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| ());
    let end = size.checked_sub(1).ok_or(())?;
    let part = match (first.trim(), last.trim()) {
        ("", "") => return Err(()),
        ("", suffix) => {
            let suffix = number(suffix)?;
            if suffix == 0 {
                return Err(());
            }
            Part {
                first: size.saturating_sub(suffix),
                last: end,
            }
        }
        (first, "") => Part {
            first: number(first)?,
            last: end,
        },
        (first, last) => Part {
            first: number(first)?,
            last: number(last)?.min(end),
        },
    };
    if part.first > part.last {
        Err(())
    } else {
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_is_there() {
        assert_eq!(parse("bytes=0-4", 10), Ok(Part { first: 0, last: 4 }));
        assert_eq!(parse("bytes=5-", 10), Ok(Part { first: 5, last: 9 }));
        assert_eq!(parse("bytes=-3", 10), Ok(Part { first: 7, last: 9 }));
        assert_eq!(parse("bytes=-30", 10), Ok(Part { first: 0, last: 9 }));
        assert_eq!(parse("bytes=9-100", 10).map(Part::length), Ok(1));
    }

    #[test]
    fn what_is_not_there_cannot_be_had() {
        for header in [
            "bytes=10-",
            "bytes=5-4",
            "bytes=-0",
            "bytes=-",
            "bytes=a-b",
            "bytes=0-1,3-4",
            "lines=1-2",
            "",
        ] {
            assert_eq!(parse(header, 10), Err(()), "{header}");
        }
        assert_eq!(parse("bytes=0-", 0), Err(()));
    }
}
