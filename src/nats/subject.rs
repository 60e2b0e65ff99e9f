//! Rules of subjects, queue groups and names.
//!
//! A subject is tokens with dots between, in UTF-8 without spaces and control characters (page "Subject-Based
//! Messaging" of the NATS documentation). In a subscription `*` stands for one token and `>`, as the last one, for one
//! or more.

/// The longest subject that is accepted, in bytes. A server's control line has 4,096 bytes by default, and a line can
/// have two subjects.
pub(super) const MAX_SUBJECT: usize = 1024;

/// Returns whether messages can be published to it.
pub(super) fn is_publishable(subject: &str) -> bool {
    has_valid_tokens(subject) && !subject.split('.').any(|token| token == "*" || token == ">")
}

/// Returns whether it can be subscribed to.
pub(super) fn is_subscribable(subject: &str) -> bool {
    let inner = subject.strip_suffix(".>").unwrap_or(subject);
    subject == ">" || (has_valid_tokens(inner) && !inner.split('.').any(|token| token == ">"))
}

/// Returns whether it is a queue group.
pub(super) fn is_queue_group(group: &str) -> bool {
    has_valid_tokens(group)
}

/// Returns whether it is a name that a process can be published under: 1 to 128 of `[A-Za-z0-9_-]`, with dots between.
pub(super) fn is_name(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    name.len() <= 128
        && name
            .split('.')
            .all(|token| !token.is_empty() && token.bytes().all(is_letter))
}

fn has_valid_tokens(subject: &str) -> bool {
    let bytes = subject.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_SUBJECT {
        return false;
    }
    let mut last = b'.';
    for &byte in bytes {
        if byte <= b' ' || byte == 0x7f || (byte == b'.' && last == b'.') {
            return false;
        }
        last = byte;
    }
    last != b'.'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_that_would_end_its_line_is_no_subject() {
        for subject in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\r\nPING",
            "a\tb",
            "a\u{7f}",
        ] {
            assert!(!is_publishable(subject), "{subject:?}");
            assert!(!is_subscribable(subject), "{subject:?}");
            assert!(!is_queue_group(subject), "{subject:?}");
        }
        assert!(!is_publishable(&"a".repeat(MAX_SUBJECT + 1)));
    }

    #[test]
    fn wildcards_are_for_subscriptions() {
        for subject in ["*", ">", "a.*", "a.>", "*.b.>"] {
            assert!(!is_publishable(subject), "{subject}");
            assert!(is_subscribable(subject), "{subject}");
        }
        for subject in ["a", "a.b", "größe.é", "a*", "$JS.API"] {
            assert!(is_publishable(subject), "{subject}");
            assert!(is_subscribable(subject), "{subject}");
        }
        assert!(!is_subscribable(">.a"));
    }

    #[test]
    fn a_name_has_letters_digits_lines_and_single_dots() {
        for name in ["kv", "kv.eu-west_1", "A", &"a".repeat(128)] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            ".",
            "a.",
            "a..b",
            "a*",
            ">",
            "a b",
            "é",
            &"a".repeat(129),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
