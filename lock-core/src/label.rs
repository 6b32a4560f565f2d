use std::fmt;

use crate::{ErrorKind, Result};

/// What an allocation is for, for people to read: at most 64 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Label(String);

impl Label {
    /// The longest label, in bytes.
    pub const MAX: usize = 64;

    /// A label, checked.
    ///
    /// # Errors
    /// [`ErrorKind::BadLabel`] when it is longer than [`Label::MAX`] bytes or has a control character in it.
    ///
    /// # Examples
    /// ```
    /// use lock_core::Label;
    /// assert_eq!(Label::new("pod web")?.as_str(), "pod web");
    /// assert!(Label::new("two\nlines").is_err());
    /// # Ok::<(), lock_core::Error>(())
    /// ```
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.len() > Self::MAX {
            let reason = format!("it has {} bytes; use at most {}", text.len(), Self::MAX);
            return Err(ErrorKind::BadLabel { label: text, reason }.into());
        }
        if text.chars().any(char::is_control) {
            let reason = "it has a control character in it; leave that out".to_owned();
            return Err(ErrorKind::BadLabel { label: text, reason }.into());
        }
        Ok(Self(text))
    }

    /// The text; empty when there is none.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
