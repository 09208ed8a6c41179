//! Cuts a stream of JSON objects that stand back to back into objects.

/// Grows by what was read, and hands out complete messages.
#[derive(Debug, Default)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were looked at.
    seen: usize,
    /// Where the message begins that is being looked at.
    start: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
}

impl Splitter {
    /// Where the next bytes are to be read into.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start > 0 && self.start == self.buffer.len() {
            self.buffer.clear();
            (self.start, self.seen) = (0, 0);
        }
        &mut self.buffer
    }

    /// The next complete message. What stands between messages (white space) is passed over.
    pub fn next_message(&mut self) -> Option<&[u8]> {
        while let Some(&byte) = self.buffer.get(self.seen) {
            self.seen += 1;
            if self.in_text {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_text = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        let message = self.start..self.seen;
                        self.start = self.seen;
                        return self.buffer.get(message);
                    }
                }
                _ if self.depth == 0 => self.start = self.seen,
                _ => {}
            }
        }
        self.forget_read();
        None
    }

    /// Keeps only the message that is not complete yet.
    fn forget_read(&mut self) {
        self.buffer.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_wherever_the_stream_breaks() {
        let messages = [
            r#"{"a":"}{\"\\"}"#,
            r#"{"b":[{},{"c":"\\\""}]}"#,
            r#"[1,"]"]"#,
        ];
        let stream = messages.join(" \n");
        for step in 1..stream.len() {
            let mut splitter = Splitter::default();
            let mut cut = Vec::new();
            for piece in stream.as_bytes().chunks(step) {
                splitter.buffer().extend_from_slice(piece);
                while let Some(message) = splitter.next_message() {
                    cut.push(String::from_utf8(message.to_vec()).unwrap());
                }
            }
            assert_eq!(cut, messages.map(str::to_owned), "in pieces of {step}");
            assert!(splitter.buffer().is_empty());
        }
    }
}
