//! Names of hosts and domains, as DNS takes them.

/// Whether a text is labels joined by dots, with or without a final dot (RFC 1123, section 2.1).
pub(super) fn is_name(text: &str) -> bool {
    text.strip_suffix('.')
        .unwrap_or(text)
        .split('.')
        .all(is_label)
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn a_name_is_labels_joined_by_dots() {
        assert!(is_name("web-1.example.com.") && is_name("web"));
        for wrong in ["", ".", "a..b", "-a", "a-", "a_b", &"x".repeat(64)] {
            assert!(!is_name(wrong), "{wrong}");
        }
    }
}
