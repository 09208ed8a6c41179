//! A kernel's command line that three boot loaders read alike.

use std::fmt;
use std::str::FromStr;

/// What x86's boot protocol carries (`COMMAND_LINE_SIZE`), with its final zero; arm64 carries as much.
const BYTES_MAX: usize = 2047;

/// A command line. iPXE, GRUB and ISOLINUX each give some characters a meaning of their own; one that has any of them would
/// arrive changed, or run a command of the loader, and is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandLine(String);

/// A text that cannot be a command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCommandLine {
    #[error(
        "a kernel's command line has at most {BYTES_MAX} bytes, and this one has {0}: shorten it"
    )]
    TooLong(usize),
    #[error(
        "a kernel's command line cannot hold {0:?}: a boot loader would change it on the way; letters, digits, spaces and \
         any of . , : = / _ - + @ % ~ ^ ! ? * are safe"
    )]
    Character(char),
}

impl CommandLine {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CommandLine {
    type Err = InvalidCommandLine;

    fn from_str(text: &str) -> Result<Self, InvalidCommandLine> {
        if text.len() > BYTES_MAX {
            return Err(InvalidCommandLine::TooLong(text.len()));
        }
        let safe = |c: char| c.is_ascii_alphanumeric() || " .,:=/_-+@%~^!?*".contains(c);
        match text.chars().find(|&c| !safe(c)) {
            Some(character) => Err(InvalidCommandLine::Character(character)),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_loader_would_change_is_refused() {
        let line = "console=ttyS0,115200 corten.url=http://10.0.0.1:8080/x?y=1 rd.break -- a@b";
        assert_eq!(line.parse::<CommandLine>().unwrap().as_str(), line);
        for text in [
            "a\nchain http://bad/",
            "token=${net0/mac}",
            "a;reboot",
            "a\"b\"",
            "a\\b",
            "a#b",
            "a&&b",
            "ü",
        ] {
            let refused = text.parse::<CommandLine>();
            assert!(
                matches!(refused, Err(InvalidCommandLine::Character(_))),
                "{text}: {refused:?}"
            );
        }
        let long = "a".repeat(2048);
        assert_eq!(
            long.parse::<CommandLine>(),
            Err(InvalidCommandLine::TooLong(2048))
        );
    }
}
